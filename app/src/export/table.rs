//! Formats records as lines of a file.

use std::io;

use super::Format;
use super::cell::{Cell, Record};

/// Lines of a file that are not written yet.
pub enum Table {
    /// One JSON object a line.
    Ndjson(Vec<u8>),
    /// A header, then one line per record, or one per entry if the record has a list.
    Csv(Box<csv::Writer<Vec<u8>>>),
}

impl Table {
    /// Starts with the header, if the format has one. `sample` is a record that has all columns.
    pub fn new(format: Format, sample: &Record) -> io::Result<Self> {
        Ok(match format {
            Format::Ndjson => Self::Ndjson(Vec::new()),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let names = csv_lines(sample).swap_remove(0).into_iter();
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
                for line in csv_lines(record) {
                    writer.write_record(line.into_iter().map(|(_, text)| text))?;
                }
                Ok(())
            }
        }
    }

    /// Size of the lines, in bytes, without the last lines of CSV, which its writer buffers.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ndjson(bytes) => bytes.len(),
            Self::Csv(writer) => writer.get_ref().len(),
        }
    }

    /// Removes and returns the lines added so far.
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

/// A line of a CSV file: names of columns and their values.
type Line = Vec<(String, String)>;

/// The CSV lines of a record: one, or one per entry of its list.
fn csv_lines(record: &Record) -> Vec<Line> {
    let mut plain = Line::new();
    let mut entries = None;
    flatten("", record, &mut plain, &mut entries);
    let Some(entries) = entries else {
        return vec![plain];
    };
    let line = |(index, entry): (usize, &Record)| {
        let mut line = plain.clone();
        line.push(("rank".to_owned(), (index + 1).to_string()));
        flatten("", entry, &mut line, &mut None);
        line
    };
    entries.iter().enumerate().map(line).collect()
}

/// Appends the cells of a record to a CSV line. Stores the list of the record, if it has one, in
/// `entries`.
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
                serde_json::to_string(record).expect("strings and numbers are always valid JSON")
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
