//! What is known to be missing from the interval that an answer counts: the field `coverage` of the
//! answer, which is absent if nothing is.
//!
//! It is part of the data of the answer, so the entity tag changes with it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use skytide_core::port::store::{Committed, Order, Range, ViewReader};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    COVERAGE_INTERVALS_MAX, CoverageKey, CoverageKind, CoverageRow, Key, RowError, StoredRow,
    ViewId, decode_row,
};

use crate::commit_ref::CommitRef;
use crate::problem::Problem;

/// Maximum number of rows about intervals: of 4 causes of gaps, 2 filters, and one row each of what
/// is known and of an open gap, with room for further causes.
const INTERVALS_MAX: usize = 16 * COVERAGE_INTERVALS_MAX;

/// What is known to be missing from an interval, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// Always false: the field is absent if nothing is known to be missing.
    complete: bool,
    /// If gaps are recorded only from a later time on: that time; `null` if none are recorded, or
    /// if it could not be read what is.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_since: Option<Option<String>>,
    /// Number of gaps of the stream that touch the interval, at most, an open one included: of gaps
    /// that were merged into one, all count.
    gaps: u32,
    /// Their length within the interval, at most.
    gap_ms: u64,
    /// Whether the stream has not been read since the newest frame.
    open_gap: bool,
    /// Whether a filter excluded inputs.
    filtered: bool,
}

/// All rows of `coverage` about intervals.
#[derive(Debug, Default)]
pub(crate) struct Intervals(pub(crate) Vec<(CoverageKey, CoverageRow)>);

impl Intervals {
    /// Reads the rows. They do not decide whether an answer is consistent: on a store without
    /// snapshots they may be of a neighbouring commit.
    pub(crate) async fn read(reader: &dyn ViewReader) -> Result<Self, Problem> {
        let range = Range {
            order: Order::First,
            from: Key::from(&[CoverageKind::Known as u8][..]),
            to: Some(Key::from(&[CoverageKind::Hour as u8][..])),
            limit: INTERVALS_MAX,
        };
        let rows = reader.scan(ViewId::Coverage, range).await?;
        let decode = |row: &StoredRow| Ok((row.key.decode()?, decode_row(&row.row)?));
        let rows: Result<_, RowError> = rows.iter().map(decode).collect();
        Ok(Self(rows?))
    }

    /// The rows of one kind, in order of time.
    pub(crate) fn of(
        &self,
        kind: CoverageKind,
    ) -> impl Iterator<Item = &(CoverageKey, CoverageRow)> {
        self.0.iter().filter(move |(key, _)| key.kind == kind)
    }

    /// Network time from which gaps are recorded.
    pub(crate) fn known_since(&self) -> Option<Timestamp> {
        let known = self.of(CoverageKind::Known).next();
        known.map(|(key, _)| key.start)
    }
}

/// The intervals of the newest commit that an answer was read of. Clones share them.
///
/// Nearly all answers need them, and they change rarely; on a database server each read of them is
/// a round trip.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntervalsCache(Arc<Mutex<Option<(CommitRef, Arc<Intervals>)>>>);

impl IntervalsCache {
    /// The intervals at a commit of `reader`: those that an earlier answer read, or else those that
    /// the store has now. `None` if they cannot be read, which fails no answer.
    pub(crate) async fn get(
        &self,
        reader: &dyn ViewReader,
        committed: &Committed,
    ) -> Option<Arc<Intervals>> {
        let commit = CommitRef::from(committed);
        let cached = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((_, intervals)) = cached.filter(|(of, _)| *of == commit) {
            return Some(intervals);
        }
        match Intervals::read(reader).await {
            Ok(intervals) => {
                let intervals = Arc::new(intervals);
                let newest = Some((commit, intervals.clone()));
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = newest;
                Some(intervals)
            }
            Err(error) => {
                tracing::warn!(?error, "cannot read what is missing: answering without it");
                None
            }
        }
    }
}

impl Missing {
    /// What is missing if it is not known what is.
    fn unknown() -> Self {
        Self {
            complete: false,
            known_since: Some(None),
            gaps: 0,
            gap_ms: 0,
            open_gap: false,
            filtered: false,
        }
    }

    /// What is missing from the time from `from` until a commit; `None` if nothing is.
    pub(crate) fn since(
        from: Timestamp,
        intervals: Option<&Intervals>,
        committed: &Committed,
    ) -> Option<Self> {
        match intervals {
            Some(intervals) => Self::of(intervals, committed, from),
            None => Some(Self::unknown()),
        }
    }

    /// What these intervals say of the time from `from` until a commit.
    fn of(intervals: &Intervals, committed: &Committed, from: Timestamp) -> Option<Self> {
        let as_of = committed.time;
        let known_since = match intervals.known_since() {
            Some(known) => (known > from).then(|| Some(known.rfc3339())),
            None => {
                // A version that recorded no recipe did not have this view.
                let recipe = committed.recipe.as_ref();
                let is_recorded =
                    recipe.is_some_and(|recipe| recipe.views.contains_key(&ViewId::Coverage));
                (!is_recorded).then_some(None)
            }
        };
        let mut missing = Self {
            known_since,
            ..Self::unknown()
        };
        for (key, row) in &intervals.0 {
            let end = match key.kind {
                CoverageKind::OpenGap => as_of.max(key.start),
                _ => row.end,
            };
            // The end is exclusive.
            if end <= from || key.start > as_of {
                continue;
            }
            match key.kind {
                CoverageKind::Gap | CoverageKind::OpenGap => {
                    let within = end.min(as_of).0.saturating_sub(key.start.max(from).0);
                    let is_open = key.kind == CoverageKind::OpenGap;
                    missing.gaps += row.merged;
                    missing.gap_ms += if is_open {
                        within
                    } else {
                        within.min(row.count)
                    };
                    missing.open_gap |= is_open;
                }
                CoverageKind::Filter => missing.filtered = true,
                _ => {}
            }
        }
        let is_complete = missing.known_since.is_none() && missing.gaps == 0 && !missing.filtered;
        (!is_complete).then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::memory::MemoryStore;
    use skytide_core::port::store::{Recipe, ViewStore as _};
    use skytide_core::view::{Change, Window};

    use crate::velocity::Coverage;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 1_000 * HOUR + 30 * 60_000;

    fn row(kind: CoverageKind, start: u64, end: u64, merged: u32) -> (CoverageKey, CoverageRow) {
        let key = CoverageKey {
            kind,
            start: Timestamp(start),
            label: "".into(),
        };
        let row = CoverageRow {
            end: Timestamp(end),
            count: end.saturating_sub(start),
            merged,
        };
        (key, row)
    }

    fn missing(rows: Vec<(CoverageKey, CoverageRow)>, window: Window) -> Option<Missing> {
        let committed = Committed {
            time: Timestamp(NOW),
            since: Timestamp(100 * HOUR),
            recipe: Some(Recipe::default()),
            ..Committed::default()
        };
        let from = Coverage::from(&committed).window(window).from;
        Missing::since(from, Some(&Intervals(rows)), &committed)
    }

    #[test]
    fn a_gap_counts_in_the_windows_that_it_touches_and_in_no_other() {
        let known = row(CoverageKind::Known, 100 * HOUR, 0, 0);
        let gap = row(CoverageKind::Gap, NOW - 26 * HOUR, NOW - 23 * HOUR, 1);
        let rows = vec![known, gap];
        assert_eq!(missing(rows.clone(), Window::Hour), None);
        let day = missing(rows.clone(), Window::Day).expect("it touches");
        let from = Window::Day.start(Timestamp(NOW)).0;
        assert_eq!((day.gaps, day.gap_ms), (1, NOW - 23 * HOUR - from));
        let week = missing(rows, Window::Week).expect("it touches");
        assert_eq!(
            (week.gaps, week.gap_ms, week.open_gap),
            (1, 3 * HOUR, false)
        );
    }

    #[test]
    fn an_open_gap_lasts_until_the_commit_and_a_filter_counts_by_the_hour() {
        let known = row(CoverageKind::Known, 100 * HOUR, 0, 0);
        let open = row(CoverageKind::OpenGap, NOW - 5_000, 0, 1);
        let open = missing(vec![known.clone(), open], Window::Hour).expect("it touches");
        assert_eq!((open.gaps, open.gap_ms, open.open_gap), (1, 5_000, true));
        let filter = row(CoverageKind::Filter, 990 * HOUR, 992 * HOUR, 1);
        let rows = vec![known, filter];
        assert_eq!(missing(rows.clone(), Window::Hour), None);
        let day = missing(rows, Window::Day).expect("it touches");
        assert_eq!((day.gaps, day.filtered), (0, true));
    }

    #[test]
    fn a_window_from_before_gaps_were_recorded_says_from_when_on_they_are() {
        let known = row(CoverageKind::Known, NOW - HOUR - 1, 0, 0);
        assert_eq!(missing(vec![known.clone()], Window::Hour), None);
        let all = missing(vec![known], Window::All).expect("it is not known");
        assert_eq!(
            all.known_since,
            Some(Some(Timestamp(NOW - HOUR - 1).rfc3339()))
        );
        let never = missing(Vec::new(), Window::Hour).expect("it is not known");
        assert_eq!(never.known_since, Some(None));
    }

    #[test]
    fn a_gap_that_ends_where_the_window_begins_is_not_in_it() {
        let known = row(CoverageKind::Known, 100 * HOUR, 0, 0);
        let from = Window::Hour.start(Timestamp(NOW)).0;
        let gap = row(CoverageKind::Gap, from - 5_000, from, 1);
        assert_eq!(missing(vec![known.clone(), gap], Window::Hour), None);
        let gap = row(CoverageKind::Gap, from - 5_000, from + 1, 1);
        let touches = missing(vec![known, gap], Window::Hour).expect("it touches");
        assert_eq!((touches.gaps, touches.gap_ms), (1, 1));
    }

    #[test]
    fn a_commit_without_a_recipe_does_not_say_that_nothing_is_missing() {
        let committed = Committed::default();
        let missing = Missing::since(Timestamp(0), Some(&Intervals::default()), &committed);
        assert_eq!(missing, Some(Missing::unknown()));
        let missing = Missing::since(Timestamp(0), None, &committed);
        assert_eq!(missing, Some(Missing::unknown()), "nothing could be read");
    }

    #[tokio::test]
    async fn intervals_are_read_once_for_each_commit() {
        let store = MemoryStore::new();
        let term = store.lead().await.expect("a term").term;
        let commit = async |epoch: u64| {
            let epoch = skytide_core::id::Epoch(epoch);
            let (key, row) = row(CoverageKind::Gap, epoch.0 * HOUR, epoch.0 * HOUR + 1, 1);
            store.begin(term, epoch.into()).await.expect("begun");
            let change = Change {
                key: Key::of(&key),
                row: Some(skytide_core::view::encode_row(&row)),
            };
            let written = store.write(term, ViewId::Coverage, vec![change]).await;
            written.expect("written");
            let committed = Committed {
                epoch,
                ..Committed::default()
            };
            store
                .commit(term, committed.clone())
                .await
                .expect("a commit");
            committed
        };
        let cache = IntervalsCache::default();
        let first = commit(1).await;
        let read = cache.get(&store, &first).await.expect("intervals");
        assert_eq!(read.0.len(), 1);
        let second = commit(2).await;
        let again = cache.get(&store, &first).await.expect("intervals");
        assert!(Arc::ptr_eq(&read, &again));
        let newer = cache.get(&store, &second).await.expect("intervals");
        assert_eq!(newer.0.len(), 2);
    }
}
