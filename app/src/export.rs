//! Every view as files, for research: one object a line, or CSV, and a summary.
//!
//! ```text
//! ViewReader ─ pages of rows ─▶ shape (rows of one key merged) ─▶ table (NDJSON | CSV) ─▶ output (DIR | socket)
//! ```
//!
//! All rows are of one commit: the count and the hash of each view's rows are compared with what
//! that commit recorded. Memory is bounded by one page, and in `interactions` by one author's
//! pairs. In a folder the files are written aside and moved into place, `summary.json` last: a folder with
//! a summary holds a whole export.

mod cell;
mod folder;
mod live;
mod output;
mod rows;
mod shape;
mod summary;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use skytide_core::port::store::{Committed, Order, Range, StoreError, Sum, ViewReader};
use skytide_core::view::{Key, RowError, StoredRow, ViewId, row_hash};

pub use folder::{Folder, SUMMARY};
pub use live::export_live;
pub use output::Output;
use shape::Shape;
pub use summary::{Outline, Summary};
use table::Table;

/// Rows read at once.
const PAGE_ROWS: usize = 4_096;
/// Bytes handed to the output at once, about.
const CHUNK_BYTES: usize = 256 << 10;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header; what is nested becomes columns.
    Csv,
}

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store holds no commit: run the dataflow first.
    #[error("nothing is counted yet: the store holds no commit")]
    Empty,
    /// The dataflow went on while rows were read: export again, from a store at rest, or one that shows a moment.
    #[error(
        "the store moves: it went on from epoch {before} to another commit while it was read; stop `skytide index` \
         meanwhile, or use a replica set of MongoDB 5.0 or later, where an export is of one moment"
    )]
    Moved {
        /// The epoch at which the export began.
        before: u64,
    },
    /// A commit is written, or was left unfinished: the rows are of no epoch.
    #[error(
        "a commit up to epoch {intent} was begun and is not complete: let `skytide index` finish it, and export again"
    )]
    Unfinished {
        /// The epoch up to which it reaches.
        intent: u64,
    },
    /// The rows are not those that the commit recorded: the store is damaged.
    #[error("view {view:?} holds {found} rows, its commit recorded {recorded}, or other ones")]
    Differs {
        /// The view.
        view: &'static str,
        /// Rows read.
        found: i64,
        /// Rows recorded.
        recorded: i64,
    },
    /// Reading failed.
    #[error("the view store could not be read")]
    Store(#[from] StoreError),
    /// A row cannot be read: the store is damaged or of another version.
    #[error("view {view:?} holds a row that cannot be read")]
    Row {
        /// The view.
        view: &'static str,
        /// What is wrong.
        #[source]
        source: RowError,
    },
    /// Another process writes an export to the folder: choose another one, or wait for its end.
    #[error("another export is being written to {0:?}")]
    Busy(PathBuf),
    /// The process that asked for the export does not read it any more.
    #[error("the export could not be sent")]
    Sent(#[source] io::Error),
    /// Writing failed.
    #[error("{path:?} could not be written")]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Writes every view and the summary to `folder`, which is made if it is not there. Files of an earlier export, in
/// whichever format, are replaced.
///
/// # Errors
/// As [`ExportError`] says; then the folder holds no `summary.json`.
pub async fn export(
    reader: &dyn ViewReader,
    folder: &Path,
    format: Format,
) -> Result<Summary, ExportError> {
    export_to(reader, &mut Folder::new(folder), format).await
}

/// Writes every view and the summary to an output.
///
/// # Errors
/// As [`ExportError`] says; then the output is not complete.
pub async fn export_to(
    reader: &dyn ViewReader,
    output: &mut dyn Output,
    format: Format,
) -> Result<Summary, ExportError> {
    let committed = committed(reader).await?;
    output.begin().await?;
    for view in ViewId::ALL.iter().copied() {
        let sum = write_view(reader, view, output, format).await?;
        compare(view, sum, &committed)?;
    }
    let summary = Summary::read(reader, &committed).await?;
    output.file(SUMMARY).await?;
    output.write(summary.to_json().into_bytes()).await?;
    if self::committed(reader).await? != committed {
        return Err(ExportError::Moved {
            before: committed.epoch.0,
        });
    }
    output.complete(&summary.outline()).await?;
    Ok(summary)
}

impl Format {
    /// The file of a view.
    fn file(self, view: ViewId) -> String {
        let extension = match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        };
        format!("{}.{extension}", view.name())
    }
}

impl ExportError {
    fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Write { path, source }
    }
}

async fn committed(reader: &dyn ViewReader) -> Result<Committed, ExportError> {
    let control = reader.control().await?;
    control.committed.ok_or(ExportError::Empty)
}

/// Writes one view; answers the sum of the rows read.
async fn write_view(
    reader: &dyn ViewReader,
    view: ViewId,
    output: &mut dyn Output,
    format: Format,
) -> Result<Sum, ExportError> {
    let unreadable = |source| ExportError::Row {
        view: view.name(),
        source,
    };
    let name = format.file(view);
    let failed = |source| ExportError::write(Path::new(&name), source);
    let mut table = Table::new(format, &rows::sample(view)).map_err(failed)?;
    output.file(&name).await?;
    let mut shape = Shape::of(view);
    let mut pages = Pages::new(reader, view, Key::default(), None);
    let mut sum = Sum::default();
    let mut records = Vec::new();
    while let Some(page) = pages.next().await? {
        for row in &page {
            sum.rows += 1;
            let hash = row_hash(view, row.key.as_bytes(), &row.row);
            sum.hash = sum.hash.wrapping_add(hash);
            shape.push(row, &mut records).map_err(unreadable)?;
            for record in records.drain(..) {
                table.add(&record).map_err(failed)?;
            }
            if table.bytes() >= CHUNK_BYTES {
                output.write(table.take().map_err(failed)?).await?;
            }
        }
    }
    shape.finish(&mut records);
    for record in records {
        table.add(&record).map_err(failed)?;
    }
    output.write(table.take().map_err(failed)?).await?;
    Ok(sum)
}

fn compare(view: ViewId, found: Sum, committed: &Committed) -> Result<(), ExportError> {
    let recorded = committed.sums.get(&view).copied().unwrap_or_default();
    if found == recorded {
        return Ok(());
    }
    Err(ExportError::Differs {
        view: view.name(),
        found: found.rows,
        recorded: recorded.rows,
    })
}

/// Rows of a view in the order of their keys, a page at a time.
pub(crate) struct Pages<'a> {
    reader: &'a dyn ViewReader,
    view: ViewId,
    from: Option<Key>,
    to: Option<Key>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        reader: &'a dyn ViewReader,
        view: ViewId,
        from: Key,
        to: Option<Key>,
    ) -> Self {
        let from = Some(from);
        Self {
            reader,
            view,
            from,
            to,
        }
    }

    /// The next page, never empty; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<StoredRow>>, StoreError> {
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let range = Range {
            order: Order::First,
            from,
            to: self.to.clone(),
            limit: PAGE_ROWS,
        };
        let page = self.reader.scan(self.view, range).await?;
        if page.len() == PAGE_ROWS {
            self.from = page.last().map(|row| behind(&row.key));
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// The first key behind this one.
fn behind(key: &Key) -> Key {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    Key::from(bytes.as_slice())
}
