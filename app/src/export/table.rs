//! Records as lines of a file.

use std::io;

use super::Format;
use super::cell::{Cell, Record};

/// Lines of a file that are yet to be written.
pub enum Table {
    /// One JSON object a line.
    Ndjson(Vec<u8>),
    /// A header, then a line a record; one for each entry of a list.
    Csv(Box<csv::Writer<Vec<u8>>>),
}

impl Table {
    /// The first line, where the format has one. `sample` is a record that has all columns.
    pub fn new(format: Format, sample: &Record) -> io::Result<Self> {
        Ok(match format {
            Format::Ndjson => Self::Ndjson(Vec::new()),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let names = flat(sample).swap_remove(0).into_iter();
                writer.write_record(names.map(|(name, _)| name))?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    /// Adds one record.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Ndjson(bytes) => {
                serde_json::to_writer(&mut *bytes, record)?;
                bytes.push(b'\n');
                Ok(())
            }
            Self::Csv(writer) => {
                for line in flat(record) {
                    writer.write_record(line.into_iter().map(|(_, text)| text))?;
                }
                Ok(())
            }
        }
    }

    /// Bytes of the lines, but for the last few of CSV.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ndjson(bytes) => bytes.len(),
            Self::Csv(writer) => writer.get_ref().len(),
        }
    }

    /// Takes the lines so far.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Ndjson(bytes) => Ok(std::mem::take(bytes)),
            Self::Csv(writer) => {
                let next = csv::Writer::from_writer(Vec::new());
                let lines = std::mem::replace(&mut **writer, next).into_inner();
                lines.map_err(csv::IntoInnerError::into_error)
            }
        }
    }
}

/// A line of a CSV file: columns and their texts.
type Line = Vec<(String, String)>;

/// The lines of a record: one, or one for each entry of its list.
fn flat(record: &Record) -> Vec<Line> {
    let mut plain = Line::new();
    let mut entries = None;
    flatten("", record, &mut plain, &mut entries);
    let Some(entries) = entries else {
        return vec![plain];
    };
    let line = |(place, entry): (usize, &Record)| {
        let mut line = plain.clone();
        line.push(("rank".to_owned(), (place + 1).to_string()));
        flatten("", entry, &mut line, &mut None);
        line
    };
    entries.iter().enumerate().map(line).collect()
}

fn flatten<'a>(
    prefix: &str,
    record: &'a Record,
    line: &mut Line,
    entries: &mut Option<&'a Vec<Record>>,
) {
    for (name, cell) in &record.0 {
        let name = format!("{prefix}{name}");
        let text = match cell {
            Cell::Null => String::new(),
            Cell::Bool(yes) => yes.to_string(),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
            Cell::Map(record) => {
                serde_json::to_string(record).expect("texts and numbers are always JSON")
            }
            Cell::Group(record) => {
                flatten(&format!("{name}_"), record, line, entries);
                continue;
            }
            Cell::List(list) => {
                *entries = Some(list);
                continue;
            }
        };
        line.push((name, text));
    }
}
