//! Converts stored rows to records. Adjacent rows with the same key are merged into one record.

use std::collections::BTreeMap;

use skytide_core::id::Did;
use skytide_core::view::{
    InteractionKey, InteractionRow, RowError, StoredRow, TrendKey, TrendRow, ViewId, decode_row,
};

use super::cell::{Cell, Record};
use super::rows::{self, Interactions};

/// Converts the rows of one view, in the order of their keys, to records.
pub enum RowMerger {
    /// Each row becomes one record.
    Plain(ViewId),
    /// The rows of a trend become one record: first the row of all languages, then one per
    /// language.
    Trend(Option<Trend>),
    /// The rows of an author, by day and subject, become one record per subject.
    Pairs(Option<Pairs>),
}

/// A trend whose rows are being merged.
pub struct Trend {
    key: Box<str>,
    all: TrendRow,
    languages: Record,
}

/// An author whose rows are being merged.
pub struct Pairs {
    author: Did,
    subjects: BTreeMap<Did, Interactions>,
}

impl RowMerger {
    /// The merger for a view.
    pub fn of(view: ViewId) -> Self {
        match view {
            ViewId::Hashtags
            | ViewId::Domains
            | ViewId::Links
            | ViewId::Mentions
            | ViewId::Languages => Self::Trend(None),
            ViewId::Interactions => Self::Pairs(None),
            _ => Self::Plain(view),
        }
    }

    /// Adds the next row in the order of keys. Appends the records that are then complete to `out`.
    ///
    /// # Errors
    ///
    /// The row does not have the format of the view.
    pub fn push(&mut self, row: &StoredRow, out: &mut Vec<Record>) -> Result<(), RowError> {
        match self {
            Self::Plain(view) => out.push(rows::record(*view, row)?),
            Self::Trend(open) => {
                let key: TrendKey = row.key.decode()?;
                let counts: TrendRow = decode_row(&row.row)?;
                match open {
                    Some(trend) if trend.key == key.key => trend.add(&key.lang, &counts),
                    _ => {
                        let trend = Trend::new(key, counts);
                        out.extend(open.replace(trend).map(Trend::record));
                    }
                }
            }
            Self::Pairs(open) => {
                let key: InteractionKey = row.key.decode()?;
                let day: InteractionRow = decode_row(&row.row)?;
                match open {
                    Some(pairs) if pairs.author == key.author => pairs.add(key.subject, &day),
                    _ => {
                        let pairs = Pairs::new(key, &day);
                        out.extend(open.replace(pairs).into_iter().flat_map(Pairs::records));
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends the remaining records to `out`.
    pub fn finish(self, out: &mut Vec<Record>) {
        match self {
            Self::Plain(_) => {}
            Self::Trend(open) => out.extend(open.map(Trend::record)),
            Self::Pairs(open) => out.extend(open.into_iter().flat_map(Pairs::records)),
        }
    }
}

impl Trend {
    fn new(key: TrendKey, counts: TrendRow) -> Self {
        let mut trend = Self {
            key: key.key,
            all: TrendRow::default(),
            languages: Record::default(),
        };
        trend.add(&key.lang, &counts);
        trend
    }

    fn add(&mut self, lang: &str, counts: &TrendRow) {
        if lang.is_empty() {
            self.all = *counts;
        } else {
            let counts = Cell::Group(rows::counts(Record::default(), counts));
            self.languages.0.push((lang.to_owned(), counts));
        }
    }

    fn record(self) -> Record {
        rows::trend(&self.key, &self.all, self.languages)
    }
}

impl Pairs {
    fn new(key: InteractionKey, day: &InteractionRow) -> Self {
        let mut pairs = Self {
            author: key.author,
            subjects: BTreeMap::new(),
        };
        pairs.add(key.subject, day);
        pairs
    }

    fn add(&mut self, subject: Did, day: &InteractionRow) {
        self.subjects.entry(subject).or_default().add(day);
    }

    fn records(self) -> impl Iterator<Item = Record> {
        let Self { author, subjects } = self;
        let record = move |(subject, sum)| rows::interaction(&author, &subject, &sum);
        subjects.into_iter().map(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use skytide_core::id::Epoch;
    use skytide_core::view::{Key, ViewKey, encode_row};

    fn row<K: ViewKey>(key: &K, row: &impl Serialize) -> StoredRow {
        StoredRow {
            key: Key::of(key),
            epoch: Epoch(1),
            row: encode_row(row),
        }
    }

    /// Merges these rows in the order of their keys and returns the given columns of the records.
    fn records(view: ViewId, mut rows: Vec<StoredRow>, columns: &[&str]) -> Vec<String> {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let (mut merger, mut out) = (RowMerger::of(view), Vec::new());
        for row in &rows {
            merger.push(row, &mut out).expect("a row of the view");
        }
        merger.finish(&mut out);
        let chosen = |record: Record| {
            let cells = record.0.into_iter();
            let cells = cells.filter(|(name, _)| columns.contains(&name.as_str()));
            serde_json::to_string(&Record(cells.collect())).expect("JSON")
        };
        out.into_iter().map(chosen).collect()
    }

    #[test]
    fn the_days_of_a_pair_become_one_record() {
        let pair = |author: u8, day: u32, subject: u8, likes: u32| {
            let key = InteractionKey {
                author: Did::from_plc([author; 15]),
                day,
                subject: Did::from_plc([subject; 15]),
            };
            let day = InteractionRow {
                likes,
                replies: 1,
                characters: 10,
                ..InteractionRow::default()
            };
            row(&key, &day)
        };
        let rows = vec![
            pair(1, 1, 3, 5),
            pair(1, 2, 2, 1),
            pair(1, 3, 3, 7),
            pair(2, 1, 3, 9),
        ];
        let records = records(
            ViewId::Interactions,
            rows,
            &["likes", "replies", "characters"],
        );
        let expected = [
            r#"{"likes":1,"replies":1,"characters":10}"#,
            r#"{"likes":12,"replies":2,"characters":20}"#,
            r#"{"likes":9,"replies":1,"characters":10}"#,
        ];
        assert_eq!(records, expected);
    }

    #[test]
    fn the_languages_of_a_tag_become_one_record_and_a_tag_without_a_total_row_counts_0() {
        let tag = |key: &str, lang: &str, count: u32| {
            let key = TrendKey {
                key: key.into(),
                lang: lang.into(),
            };
            let counts = TrendRow {
                counts: [0, 0, 0, count],
                authors: [0, 0, 0, 1],
            };
            row(&key, &counts)
        };
        let rows = vec![
            tag("a", "", 3),
            tag("a", "en", 2),
            tag("ab", "", 1),
            tag("b", "ja", 4),
        ];
        let records = records(ViewId::Hashtags, rows, &["key", "count"]);
        let expected = [
            r#"{"key":"a","count":3}"#,
            r#"{"key":"ab","count":1}"#,
            r#"{"key":"b","count":0}"#,
        ];
        assert_eq!(records, expected);
    }
}
