//! From stored rows to records: rows of one key that stand side by side become one record.

use std::collections::BTreeMap;

use skytide_core::id::Did;
use skytide_core::view::{
    InteractionKey, InteractionRow, RowError, StoredRow, TrendKey, TrendRow, ViewId, decode_row,
};

use super::cell::{Cell, Record};
use super::rows::{self, Interactions};

/// How rows of a view become records.
pub enum Shape {
    /// A row is a record.
    Plain(ViewId),
    /// The row of all languages comes first, then one for each language.
    Trend(Option<Trend>),
    /// An author's rows, by day and subject, become one record a subject.
    Pairs(Option<Pairs>),
}

/// A trend whose rows are being read.
pub struct Trend {
    key: Box<str>,
    all: TrendRow,
    languages: Record,
}

/// An author whose rows are being read.
pub struct Pairs {
    author: Did,
    subjects: BTreeMap<Did, Interactions>,
}

impl Shape {
    /// The shape of a view.
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

    /// Takes the next row, in the order of keys; hands out what is complete.
    ///
    /// # Errors
    /// The row is not one of the view.
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

    /// Hands out the last record.
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
