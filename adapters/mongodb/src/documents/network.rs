//! Documents of `activity`, `counters` and `coverage`.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, ActivityRow, CounterRow, CoverageKey, CoverageRow, Span};

use super::{Count, RowDocument};
use crate::values::{date, timestamp};

/// Counts of operations on a collection in a span of time.
#[derive(Debug, Serialize, Deserialize)]
pub struct ActivityDocument {
    /// `all`, `hour` or `minute`.
    span: String,
    /// Start of the hour or minute; `null` for all time.
    start: Option<DateTime>,
    collection: String,
    creates: Count,
    updates: Count,
    deletes: Count,
    bytes: Count,
    accounts: Count,
    live: Count,
}

impl RowDocument for ActivityDocument {
    type Key = ActivityKey;
    type Row = ActivityRow;

    fn from_row(key: ActivityKey, row: ActivityRow) -> Option<Self> {
        let span = match key.span {
            Span::All => "all",
            Span::Hour => "hour",
            Span::Minute => "minute",
        };
        Some(Self {
            span: span.to_owned(),
            start: match key.span {
                Span::All => None,
                Span::Hour | Span::Minute => date(Minute(key.start_minute).start()),
            },
            collection: key.collection.into(),
            creates: row.creates.into(),
            updates: row.updates.into(),
            deletes: row.deletes.into(),
            bytes: row.bytes.into(),
            accounts: row.accounts.into(),
            live: row.live.into(),
        })
    }

    fn into_row(self) -> Option<ActivityRow> {
        Some(ActivityRow {
            creates: self.creates.0,
            updates: self.updates.0,
            deletes: self.deletes.0,
            bytes: self.bytes.0,
            accounts: self.accounts.0,
            live: self.live.0,
        })
    }
}

/// A counter of all time.
#[derive(Debug, Serialize, Deserialize)]
pub struct CounterDocument {
    name: String,
    value: Count,
}

impl RowDocument for CounterDocument {
    type Key = String;
    type Row = CounterRow;

    fn from_row(name: String, row: CounterRow) -> Option<Self> {
        let value = row.value.into();
        Some(Self { name, value })
    }

    fn into_row(self) -> Option<CounterRow> {
        let value = self.value.0;
        Some(CounterRow { value })
    }
}

/// What is known to be missing in an interval of network time.
#[derive(Debug, Serialize, Deserialize)]
pub struct CoverageDocument {
    /// `known`, `gap`, `open_gap`, `filter`, `hour`, `day` or `earlier`.
    kind: String,
    label: String,
    start: DateTime,
    /// `null`: it has not ended.
    end: Option<DateTime>,
    count: Count,
    merged: Count,
}

impl RowDocument for CoverageDocument {
    type Key = CoverageKey;
    type Row = CoverageRow;

    fn from_row(key: CoverageKey, row: CoverageRow) -> Option<Self> {
        let end = match row.end {
            Timestamp(0) => None,
            end => Some(date(end)?),
        };
        Some(Self {
            kind: key.kind.as_str().to_owned(),
            label: key.label.into(),
            start: date(key.start)?,
            end,
            count: row.count.into(),
            merged: row.merged.into(),
        })
    }

    fn into_row(self) -> Option<CoverageRow> {
        Some(CoverageRow {
            end: match self.end {
                None => Timestamp(0),
                Some(end) => timestamp(end)?,
            },
            count: self.count.0,
            merged: self.merged.to_u32()?,
        })
    }
}
