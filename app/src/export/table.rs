//! Records as lines of a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Format;
use super::cell::{Cell, Record};

/// A file of records.
pub enum Table {
    /// One JSON object a line.
    Ndjson(BufWriter<File>),
    /// A header, then a line a record; one for each entry of a list.
    Csv(Box<csv::Writer<File>>),
}

impl Table {
    /// Makes the file. `sample` is a record that has all columns.
    pub fn create(path: &Path, format: Format, sample: &Record) -> io::Result<Self> {
        let file = File::create(path)?;
        Ok(match format {
            Format::Ndjson => Self::Ndjson(BufWriter::new(file)),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                let names = flat(sample).swap_remove(0).into_iter();
                writer.write_record(names.map(|(name, _)| name))?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    /// Writes one record.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Ndjson(file) => {
                serde_json::to_writer(&mut *file, record)?;
                file.write_all(b"\n")
            }
            Self::Csv(writer) => {
                for line in flat(record) {
                    writer.write_record(line.into_iter().map(|(_, text)| text))?;
                }
                Ok(())
            }
        }
    }

    /// Hands everything to the disk.
    pub fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Ndjson(file) => file.into_inner()?,
            Self::Csv(writer) => writer
                .into_inner()
                .map_err(csv::IntoInnerError::into_error)?,
        };
        file.sync_all()
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
