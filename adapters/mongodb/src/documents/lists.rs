//! Documents of top lists.

use serde::{Deserialize, Serialize};
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, Window};

use super::{Count, RowDocument};

/// A top list, ordered from the first rank to the last.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListDocument {
    /// `1h`, `24h`, `7d` or `all`.
    window: String,
    measure: String,
    lang: String,
    entries: Vec<Entry>,
}

/// A [`ListEntry`].
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: String,
    value: Count,
    /// The other one of the two counts of a trend: authors in a list by posts, and vice versa.
    other: Count,
    /// The value in the next longer window.
    longer: Count,
}

impl ListDocument {
    /// Converts a list into a document.
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

    /// Converts the document into a list. `None` if it is not a valid list.
    pub fn list(self) -> Option<(ListKey, ListRow)> {
        let key = ListKey {
            window: Window::from_name(&self.window)?,
            measure: Measure::from_name(&self.measure)?,
            lang: self.lang.as_str().into(),
        };
        Some((key, self.into_row()?))
    }
}

impl RowDocument for ListDocument {
    type Key = ListKey;
    type Row = ListRow;

    fn from_row(key: ListKey, row: ListRow) -> Option<Self> {
        Some(Self::new(&key, row))
    }

    fn into_row(self) -> Option<ListRow> {
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
