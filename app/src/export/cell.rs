//! A record of an export: named cells in a fixed order.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A named cell.
pub type Named = (String, Cell);

/// A record: its cells in the order of the columns of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(pub Vec<Named>);

/// The value of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// An unknown value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A count.
    Number(u64),
    /// A text.
    Text(String),
    /// Nested cells that every record has: an object in JSON, columns in CSV.
    Group(Record),
    /// Nested cells that differ between records: an object in JSON, one column of JSON in CSV.
    Map(Record),
    /// A list of entries: an array in JSON, one line per entry in CSV.
    List(Vec<Record>),
}

impl Record {
    /// Returns the record with one more cell.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, cell: impl Into<Cell>) -> Self {
        self.0.push((name.into(), cell.into()));
        self
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(yes) => serializer.serialize_bool(*yes),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Group(record) | Self::Map(record) => record.serialize(serializer),
            Self::List(entries) => {
                let mut list = serializer.serialize_seq(Some(entries.len()))?;
                for entry in entries {
                    list.serialize_element(entry)?;
                }
                list.end()
            }
        }
    }
}
