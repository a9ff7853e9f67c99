//! Rows of `coverage`: what is known to be missing from the counts, by network time.
//!
//! Every row is a function of the log, so it survives restarts and is the same for any number of
//! workers. The number of rows is bounded: intervals beyond a bound are merged, and say so.

use serde::{Deserialize, Serialize};

use super::RowError;
use super::key::ViewKey;
use crate::time::Timestamp;

/// Maximum number of intervals of one kind and one label. Beyond it, the two neighbours with the
/// shortest time between them are merged, the earliest such pair first.
pub const COVERAGE_INTERVALS_MAX: usize = 64;
/// Hours whose counts are retained by the hour, with the current one. Older ones are added to their
/// days.
pub const COVERAGE_HOURS: u64 = 192;
/// Days whose counts are retained by the day, with the current one. Older ones are added up.
pub const COVERAGE_DAYS: u64 = 400;

/// What a row of `coverage` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum CoverageKind {
    /// `start`: network time from which gaps and drops are recorded. There is one such row.
    Known = 0,
    /// An interval in which events may be missing. The label is the cause
    /// ([`GapCause`](crate::event::GapCause)).
    Gap = 1,
    /// A gap that has not ended: no frame has arrived since. At most one row.
    OpenGap = 2,
    /// Whole hours in which a filter excluded inputs. The label is the reason, such as
    /// `filter_did`.
    Filter = 3,
    /// Counts of one hour. The label is `dropped/REASON`, or `missing_seqs` for numbers that the
    /// relay left out.
    Hour = 4,
    /// Counts of one day, UTC.
    Day = 5,
    /// Counts of all earlier days.
    Earlier = 6,
}

impl CoverageKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Known,
        Self::Gap,
        Self::OpenGap,
        Self::Filter,
        Self::Hour,
        Self::Day,
        Self::Earlier,
    ];

    /// The name in exports and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Gap => "gap",
            Self::OpenGap => "open_gap",
            Self::Filter => "filter",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Earlier => "earlier",
        }
    }
}

/// The interval that a row of `coverage` describes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CoverageKey {
    /// What the row describes.
    pub kind: CoverageKind,
    /// Network time at its start; 0 for [`CoverageKind::Earlier`].
    pub start: Timestamp,
    /// The cause, reason or name; empty for [`CoverageKind::Known`].
    pub label: Box<str>,
}

impl ViewKey for CoverageKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.kind as u8);
        ((self.start.0 >> 32) as u32).encode(bytes);
        (self.start.0 as u32).encode(bytes);
        self.label.to_string().encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let kind = usize::from(u8::decode(bytes)?);
        let kind = *CoverageKind::ALL.get(kind).ok_or(RowError)?;
        let (high, low) = (u32::decode(bytes)?, u32::decode(bytes)?);
        Ok(Self {
            kind,
            start: Timestamp(u64::from(high) << 32 | u64::from(low)),
            label: String::decode(bytes)?.into(),
        })
    }
}

/// What is known of the interval.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CoverageRow {
    /// Network time at its end, exclusive; 0 if it has not ended.
    pub end: Timestamp,
    /// For a gap, its length in ms; if several gaps were merged, at most the sum of their lengths.
    /// For a filter and for counts, the number of inputs.
    pub count: u64,
    /// Number of intervals that were merged into this one; 1 if none was.
    pub merged: u32,
}

impl CoverageRow {
    /// The union of this interval, which starts at `start`, with a later one.
    #[must_use]
    pub fn merge(self, start: Timestamp, later: Self, kind: CoverageKind) -> Self {
        let end = self.end.max(later.end);
        let count = self.count + later.count;
        Self {
            end,
            count: match kind {
                CoverageKind::Gap => count.min(end.0.saturating_sub(start.0)),
                _ => count,
            },
            merged: self.merged.saturating_add(later.merged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Key;

    #[test]
    fn keys_sort_by_kind_and_time_and_come_back_from_their_bytes() {
        let key = |kind, start, label: &str| CoverageKey {
            kind,
            start: Timestamp(start),
            label: label.into(),
        };
        let keys = [
            key(CoverageKind::Known, u64::MAX, ""),
            key(CoverageKind::Gap, 1 << 40, "message_size"),
            key(CoverageKind::Gap, (1 << 40) + 1, "cursor_reset"),
            key(CoverageKind::Hour, 0, "dropped/did"),
            key(CoverageKind::Hour, 0, "missing_seqs"),
            key(CoverageKind::Earlier, 0, "missing_seqs"),
        ];
        let encoded: Vec<Key> = keys.iter().map(Key::of).collect();
        assert!(encoded.is_sorted() && keys.is_sorted());
        for (key, encoded) in keys.iter().zip(&encoded) {
            assert_eq!(encoded.decode::<CoverageKey>().as_ref(), Ok(key));
        }
        assert!(
            Key::from(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..])
                .decode::<CoverageKey>()
                .is_err()
        );
        for (number, kind) in CoverageKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
