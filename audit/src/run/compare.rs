//! Compares counted rows with stored rows.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::port::audit::{AuditReport, AuditedView, Difference};
use skytide_core::port::store::{Committed, Order, Range, ViewReader};
use skytide_core::view::{InteractionKey, Key, ViewId, fits};

use super::AuditError;
use super::pace::Pace;
use super::sample::{Sample, after};
use crate::recount::{Options, Rows, Selection};
use crate::shown;

/// The number of rows that are read at once.
const PAGE_ROWS: usize = 4_096;

/// Why rows of `coverage` are not compared.
const NOT_COUNTED: &str = "all rows: they say what the relay and the filters left out, which no live \
                           record shows";

/// The rows of a view.
type ViewRows = BTreeMap<Key, Box<[u8]>>;

/// The comparison so far.
pub(super) struct Comparison<'a> {
    pace: &'a Pace,
    report: AuditReport,
    views: BTreeMap<ViewId, AuditedView>,
    /// The first day whose interactions are retained.
    first_day: u32,
}

impl<'a> Comparison<'a> {
    /// Compares rows of a commit.
    pub(super) fn new(committed: &Committed, options: Options, pace: &'a Pace) -> Self {
        let recipe = committed.recipe.as_ref();
        let computed = recipe.map(|recipe| recipe.views.keys().copied());
        let views = computed.into_iter().flatten().map(|view| {
            let audited = AuditedView {
                view: view.name().into(),
                not_audited: (view == ViewId::Coverage).then(|| NOT_COUNTED.into()),
                ..AuditedView::default()
            };
            (view, audited)
        });
        let days = options.interactions_days;
        Self {
            pace,
            report: AuditReport {
                epoch: committed.epoch,
                time: committed.time,
                ..AuditReport::default()
            },
            views: views.collect(),
            first_day: days.map_or(0, |days| (committed.time.day() + 1).saturating_sub(days)),
        }
    }

    /// Notes that a sample does not count all items of lists.
    pub(super) fn note_sampled_lists(&mut self) {
        const WHY: &str = "whether other items than those sampled belong in the lists: an audit of \
                           all rows counts all items";
        for (_, audited) in self.views.iter_mut().filter(|(view, _)| view.is_list()) {
            audited.not_audited = Some(WHY.into());
        }
    }

    /// Notes that lists were not compared.
    pub(super) fn lists_not_audited(&mut self) {
        const WHY: &str = "all rows: lists were last written before the live records that are \
                           available; a later audit compares them";
        for (_, audited) in self.views.iter_mut().filter(|(view, _)| view.is_list()) {
            audited.not_audited = Some(WHY.into());
        }
    }

    /// Compares a sample with the counted rows.
    pub(super) fn sampled(&mut self, sample: &Sample, mut expected: Rows) {
        for view in self.views.keys().copied().collect::<Vec<_>>() {
            let empty = BTreeMap::new();
            let stored = sample.stored.get(&view).unwrap_or(&empty);
            let Some(counted) = expected.remove(&view) else {
                continue; // lists that cannot be audited
            };
            let keys: BTreeSet<&Key> = match sample.keys.get(&view) {
                Some(keys) => keys.iter().collect(),
                None => stored.keys().chain(counted.keys()).collect(),
            };
            for key in keys {
                let expected = counted.get(key).map(|row| &**row);
                self.row(view, key, expected, stored.get(key).map(|row| &**row));
            }
        }
    }

    /// Compares all selected rows, except lists, with the counted rows.
    pub(super) async fn stored_rows(
        &mut self,
        reader: &dyn ViewReader,
        selection: &Selection,
        mut expected: Rows,
    ) -> Result<(), AuditError> {
        let views: Vec<_> = self.views.keys().copied().collect();
        for view in views.into_iter().filter(|view| !view.is_list()) {
            // Only the selected rows of these views are expected; a row whose key is not one of the
            // view counts as a difference in each pass, so it is compared in the first one only.
            let is_selected = |key: &Key| match Selection::hash_of_row(view, key) {
                Ok(hash) => selection.has_hash(hash),
                Err(_) => selection.has_hash(0),
            };
            let mut expected = expected.remove(&view).unwrap_or_default();
            expected.retain(|key, _| is_selected(key));
            self.all_rows(reader, view, is_selected, expected).await?;
        }
        Ok(())
    }

    /// Compares all lists with the counted lists.
    pub(super) async fn stored_lists(
        &mut self,
        reader: &dyn ViewReader,
        mut expected: Rows,
    ) -> Result<(), AuditError> {
        let views: Vec<_> = self.views.keys().copied().collect();
        for view in views.into_iter().filter(|view| view.is_list()) {
            let expected = expected.remove(&view).unwrap_or_default();
            self.all_rows(reader, view, |_| true, expected).await?;
        }
        Ok(())
    }

    async fn all_rows(
        &mut self,
        reader: &dyn ViewReader,
        view: ViewId,
        is_selected: impl Fn(&Key) -> bool,
        mut expected: ViewRows,
    ) -> Result<(), AuditError> {
        let mut from = Key::default();
        loop {
            let range = Range {
                order: Order::First,
                from,
                to: None,
                limit: PAGE_ROWS,
            };
            let page = reader.scan(view, range).await?;
            self.pace.pause().await?;
            for stored in page.iter().filter(|stored| is_selected(&stored.key)) {
                let expected = expected.remove(&stored.key);
                self.row(view, &stored.key, expected.as_deref(), Some(&stored.row));
            }
            match page.last() {
                Some(last) if page.len() == PAGE_ROWS => from = after(&last.key),
                _ => break,
            }
        }
        for (key, row) in expected {
            self.row(view, &key, Some(&row), None);
        }
        Ok(())
    }

    /// Compares one row.
    fn row(&mut self, view: ViewId, key: &Key, expected: Option<&[u8]>, found: Option<&[u8]>) {
        // Interactions of a day that is no longer retained are removed some epochs later.
        let is_expired = view == ViewId::Interactions
            && expected.is_none()
            && key
                .decode::<InteractionKey>()
                .is_ok_and(|key| key.day < self.first_day);
        let is_counted = view != ViewId::Coverage;
        let Some(audited) = self
            .views
            .get_mut(&view)
            .filter(|_| is_counted && !is_expired)
        else {
            return;
        };
        // A row that no store can hold is not written.
        let expected = expected.filter(|row| fits(key, row));
        // A sampled key without a row, which should have none.
        if expected.is_none() && found.is_none() {
            return;
        }
        self.report.rows += 1;
        audited.rows += 1;
        if expected == found {
            return;
        }
        self.report.differing += 1;
        audited.differing += 1;
        if self.report.differences.len() < AuditReport::DIFFERENCES_MAX {
            self.report.differences.push(Difference {
                view: view.name().into(),
                key: shown::key(view, key),
                expected: expected.map(|row| shown::row(view, row)),
                found: found.map(|row| shown::row(view, row)),
            });
        }
    }

    /// The report, without what only the caller knows.
    pub(super) fn report(self) -> AuditReport {
        AuditReport {
            views: self.views.into_values().collect(),
            ..self.report
        }
    }
}
