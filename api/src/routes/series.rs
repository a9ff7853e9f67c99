//! Sums and series of the view `activity`, for `/v1/network` and the rates of `/v1/stream`.

use std::ops::AddAssign;

use serde::Serialize;
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, ActivityRow, Span, ViewId};

use crate::answer::Rows;
use crate::problem::Problem;

/// The collection under which the view counts the operations of all collections together.
const ALL_COLLECTIONS: &str = "";

/// A sum of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ops {
    pub(crate) operations: u64,
    creates: u64,
    updates: u64,
    deletes: u64,
    bytes: u64,
}

impl AddAssign<&ActivityRow> for Ops {
    fn add_assign(&mut self, row: &ActivityRow) {
        self.operations += row.creates + row.updates + row.deletes;
        self.creates += row.creates;
        self.updates += row.updates;
        self.deletes += row.deletes;
        self.bytes += row.bytes;
    }
}

impl From<&ActivityRow> for Ops {
    fn from(row: &ActivityRow) -> Self {
        let mut sum = Self::default();
        sum += row;
        sum
    }
}

/// Consecutive time buckets of one length. The last one is the newest; it is still open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    span: Span,
    step_minutes: u32,
    first: Minute,
    count: u32,
}

impl Buckets {
    /// The minute of `now` and the minutes before it, `count` in all.
    pub(crate) fn minutes(now: Timestamp, count: u32) -> Self {
        Self::new(Span::Minute, 1, now, count)
    }

    /// The hour of `now` and the hours before it, `count` in all.
    pub(crate) fn hours(now: Timestamp, count: u32) -> Self {
        Self::new(Span::Hour, 60, now, count)
    }

    fn new(span: Span, step_minutes: u32, now: Timestamp, count: u32) -> Self {
        let open = now.minute().0 / step_minutes;
        let first = Minute((open + 1).saturating_sub(count) * step_minutes);
        Self {
            span,
            step_minutes,
            first,
            count,
        }
    }

    /// The start of each bucket.
    fn starts(self) -> impl Iterator<Item = Minute> {
        (0..self.count).map(move |index| Minute(self.first.0 + index * self.step_minutes))
    }

    /// Reads the rows of one collection, one per bucket. A bucket without a row has zeros.
    async fn rows(self, rows: &Rows<'_>, collection: &str) -> Result<Vec<ActivityRow>, Problem> {
        let key = |start: Minute| ActivityKey {
            span: self.span,
            start_minute: start.0,
            collection: collection.into(),
        };
        let keys: Vec<ActivityKey> = self.starts().map(key).collect();
        let found: Vec<Option<ActivityRow>> = rows.get(ViewId::Activity, &keys).await?;
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The sum of one collection over all buckets.
    pub(crate) async fn sum(self, rows: &Rows<'_>, collection: &str) -> Result<Ops, Problem> {
        let mut sum = Ops::default();
        for row in &self.rows(rows, collection).await? {
            sum += row;
        }
        Ok(sum)
    }

    /// One point per bucket, the oldest first. Buckets that ended before counting began are left
    /// out.
    pub(crate) async fn series(self, rows: &Rows<'_>) -> Result<Vec<Point>, Problem> {
        let found = self.rows(rows, ALL_COLLECTIONS).await?;
        let end = |start: Minute| Minute(start.0 + self.step_minutes).start();
        let counted = |(start, _): &(Minute, _)| end(*start) > rows.committed.since;
        let points = self.starts().zip(found).filter(counted);
        Ok(points.map(|(start, row)| Point::new(start, &row)).collect())
    }
}

/// A point of a series.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    start: String,
    #[serde(flatten)]
    ops: Ops,
    /// Number of distinct accounts.
    accounts: u64,
}

impl Point {
    fn new(start: Minute, row: &ActivityRow) -> Self {
        Self {
            start: start.start().rfc3339(),
            ops: row.into(),
            accounts: row.accounts,
        }
    }
}

/// The current rate of operations in the network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// Rounded to one decimal.
    operations_per_second: f64,
    /// The time over which the rate was measured.
    over_seconds: u64,
}

impl Rates {
    /// Reads the rate over the last whole minute and the open one, or since counting began if that
    /// is later.
    pub(crate) async fn read(rows: &Rows<'_>) -> Result<Self, Problem> {
        let now = rows.committed.time;
        let buckets = Buckets::minutes(now, 2);
        let operations = buckets.sum(rows, ALL_COLLECTIONS).await?.operations;
        let from = buckets.first.start().max(rows.committed.since);
        Ok(Self::over(operations, now.0.saturating_sub(from.0)))
    }

    fn over(operations: u64, ms: u64) -> Self {
        let seconds = (ms as f64 / 1_000.0).max(1.0);
        Self {
            operations_per_second: (operations as f64 / seconds * 10.0).round() / 10.0,
            over_seconds: seconds as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bucket_is_the_open_one() {
        let now = Timestamp::parse("2026-07-04T14:38:06.928Z").unwrap();
        let text = |buckets: Buckets| -> Vec<String> {
            buckets
                .starts()
                .map(|start| start.start().rfc3339())
                .collect()
        };
        assert_eq!(
            text(Buckets::minutes(now, 2)),
            ["2026-07-04T14:37:00.000Z", "2026-07-04T14:38:00.000Z"]
        );
        assert_eq!(
            text(Buckets::hours(now, 2)),
            ["2026-07-04T13:00:00.000Z", "2026-07-04T14:00:00.000Z"]
        );
    }

    #[test]
    fn a_rate_is_operations_by_seconds_and_a_second_at_least() {
        assert_eq!(Rates::over(4_500, 90_000).operations_per_second, 50.0);
        assert_eq!(Rates::over(7, 0).operations_per_second, 7.0);
    }
}
