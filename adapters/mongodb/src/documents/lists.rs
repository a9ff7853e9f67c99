//! Documents of top lists.

use serde::{Deserialize, Serialize};
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, Window};

use super::{Columns, Count};

/// A top list, best first.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListDocument {
    /// `1h`, `24h`, `7d`, `all`.
    window: String,
    measure: String,
    lang: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: String,
    value: Count,
    other: Count,
    longer: Count,
}

impl ListDocument {
    /// The document of a list.
    pub fn new(key: &ListKey, row: ListRow) -> Self {
        let entry = |entry: ListEntry| Entry {
            key: entry.key.into(),
            value: entry.value.into(),
            other: entry.other.into(),
            longer: entry.longer.into(),
        };
        Self {
            window: key.window.name().to_owned(),
            measure: key.measure.name().to_owned(),
            lang: key.lang.to_string(),
            entries: row.entries.into_iter().map(entry).collect(),
        }
    }

    /// The list; `None` if the document is not one.
    pub fn list(self) -> Option<(ListKey, ListRow)> {
        let key = ListKey {
            window: Window::from_name(&self.window)?,
            measure: Measure::from_name(&self.measure)?,
            lang: self.lang.as_str().into(),
        };
        Some((key, self.row()?))
    }
}

impl Columns for ListDocument {
    type Key = ListKey;
    type Row = ListRow;

    fn of(key: ListKey, row: ListRow) -> Option<Self> {
        Some(Self::new(&key, row))
    }

    fn row(self) -> Option<ListRow> {
        let entry = |entry: Entry| {
            Some(ListEntry {
                key: entry.key.into(),
                value: entry.value.to_u32()?,
                other: entry.other.to_u32()?,
                longer: entry.longer.to_u32()?,
            })
        };
        let entries: Option<Vec<_>> = self.entries.into_iter().map(entry).collect();
        Some(ListRow { entries: entries? })
    }
}
