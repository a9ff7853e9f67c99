//! A summary of a store, for `summary.json` and the tables at the end of a replay.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skytide_core::port::store::{Committed, ViewReader};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    ActivityKey, ActivityRow, CounterRow, Key, RowError, Span, ViewId, decode_row,
};

use super::{ExportError, Pages};

/// Numbers of operations on a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ops {
    /// Records created.
    pub create: u64,
    /// Records changed.
    pub update: u64,
    /// Records deleted.
    pub delete: u64,
}

/// The summary of a store at a commit. What belongs to a view that the commit does not have
/// (`INDEXER_VIEWS`) is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Frames read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Operations by collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<BTreeMap<String, Ops>>,
    /// Events that are not operations: `account`, `identity`, `sync`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeMap<String, u64>>,
    /// Live records by collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_records: Option<BTreeMap<String, u64>>,
    /// Frames and records that were dropped, in whole or in part, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<BTreeMap<String, u64>>,
    /// Rows by view.
    pub rows: BTreeMap<&'static str, i64>,
    /// The newest committed epoch.
    pub epoch: u64,
    /// Network time at the end of that epoch; `None` if no frame had a readable time. Network time
    /// is the running median of the frames' times.
    pub time: Option<String>,
    /// Network time of the first counted event; `None` if `time` is `None`.
    pub since: Option<String>,
}

/// The result of an export, which is reported in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    rows: i64,
    views: usize,
    epoch: u64,
    time: String,
}

impl ExportReport {
    /// The line that reports an export to this folder.
    pub fn line(&self, folder: &Path) -> String {
        let folder = folder.display();
        let Self {
            rows,
            views,
            epoch,
            time,
        } = self;
        format!("exported {rows} rows of {views} views to {folder}, as of epoch {epoch} ({time})")
    }
}

impl Summary {
    /// Reads the summary of a store at a commit.
    ///
    /// # Errors
    ///
    /// The store cannot be read or is damaged.
    pub async fn read(reader: &dyn ViewReader, committed: &Committed) -> Result<Self, ExportError> {
        // The sums of a commit have the number of rows of each view.
        let sums = committed.sums.iter();
        let mut summary = Self {
            rows: sums.map(|(view, sum)| (view.name(), sum.rows)).collect(),
            epoch: committed.epoch.0,
            time: committed.time.known().map(Timestamp::rfc3339),
            since: committed.since.known().map(Timestamp::rfc3339),
            ..Self::default()
        };
        let recipe = committed.recipe.as_ref();
        // A commit without a recipe has all views: an earlier version made it.
        let has = |view| recipe.is_none_or(|recipe| recipe.views.contains_key(&view));
        if has(ViewId::Activity) {
            summary.read_activity(reader).await?;
        }
        if has(ViewId::Counters) {
            summary.read_counters(reader).await?;
        }
        Ok(summary)
    }

    /// Reads the summary of a store at its newest commit.
    ///
    /// # Errors
    ///
    /// The store holds no commit, cannot be read or is damaged.
    pub async fn now(reader: &dyn ViewReader) -> Result<Self, ExportError> {
        let committed = super::committed(reader).await?;
        Self::read(reader, &committed).await
    }

    /// The report of an export at this commit.
    pub fn report(&self) -> ExportReport {
        ExportReport {
            rows: self.rows.values().sum(),
            views: self.rows.len(),
            epoch: self.epoch,
            time: self
                .time
                .clone()
                .unwrap_or_else(|| "an unknown time".to_owned()),
        }
    }

    /// The text of `summary.json`.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("strings and numbers are always valid JSON") + "\n"
    }

    /// Reads the rows of `activity` that cover all time. They sort before the rows of hours and
    /// minutes, so reading ends at the first key of an hour.
    async fn read_activity(&mut self, reader: &dyn ViewReader) -> Result<(), ExportError> {
        let view = ViewId::Activity;
        self.ops.get_or_insert_default();
        self.events.get_or_insert_default();
        self.live_records.get_or_insert_default();
        let hours = Key::from([Span::Hour as u8].as_slice());
        let mut pages = Pages::new(reader, view, Key::default(), Some(hours));
        while let Some(page) = pages.next().await? {
            for row in page {
                let key: ActivityKey = row.key.decode().map_err(unreadable(view))?;
                let row: ActivityRow = decode_row(&row.row).map_err(unreadable(view))?;
                self.add(&key.collection, &row);
            }
        }
        Ok(())
    }

    fn add(&mut self, collection: &str, row: &ActivityRow) {
        // The row of the empty collection counts all operations together.
        if collection.is_empty() {
            return;
        }
        if let Some(event) = collection.strip_prefix('#') {
            let events = self.events.get_or_insert_default();
            events.insert(event.to_owned(), row.creates);
            return;
        }
        let ops = Ops {
            create: row.creates,
            update: row.updates,
            delete: row.deletes,
        };
        let all = self.ops.get_or_insert_default();
        all.insert(collection.to_owned(), ops);
        let live = self.live_records.get_or_insert_default();
        live.insert(collection.to_owned(), row.live);
    }

    async fn read_counters(&mut self, reader: &dyn ViewReader) -> Result<(), ExportError> {
        let view = ViewId::Counters;
        let frames = self.frames.get_or_insert_default();
        let dropped = self.dropped.get_or_insert_default();
        let mut pages = Pages::new(reader, view, Key::default(), None);
        while let Some(page) = pages.next().await? {
            for row in page {
                let name: String = row.key.decode().map_err(unreadable(view))?;
                let row: CounterRow = decode_row(&row.row).map_err(unreadable(view))?;
                if name == "frames" {
                    *frames = row.value;
                } else if let Some(reason) = name.strip_prefix("dropped/") {
                    dropped.insert(reason.to_owned(), row.value);
                }
            }
        }
        Ok(())
    }
}

fn unreadable(view: ViewId) -> impl Fn(RowError) -> ExportError {
    let view = view.name();
    move |source| ExportError::Row { view, source }
}
