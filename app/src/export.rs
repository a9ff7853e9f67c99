//! Writes every view to files for research, as NDJSON or CSV, with a summary.
//!
//! ```text
//! ViewReader ─ pages of rows ─▶ merge (rows of one key) ─▶ table (NDJSON | CSV) ─▶ output (DIR | socket)
//! ```
//!
//! All rows belong to one commit: the count and the hash of the rows of each view are compared with
//! the values that the commit recorded. Memory is bounded by one page, and in `interactions` by the
//! pairs of one author. In a folder the files are written to a staging folder and then renamed,
//! `summary.json` last. So a folder with a summary holds a complete export.

mod cell;
mod folder;
mod merge;
mod output;
mod rows;
mod summary;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use skytide_core::port::store::{Committed, Order, Range, StoreError, Sum, ViewReader};
use skytide_core::view::{Key, RowError, StoredRow, ViewId, row_hash};

pub use folder::{Folder, SUMMARY};
use merge::RowMerger;
pub use output::Output;
pub use summary::{ExportReport, Summary};
use table::Table;

/// Rows read at once.
const PAGE_ROWS: usize = 4_096;
/// Size of a chunk that is passed to the output, approximately, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// The format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header. Nested objects become columns.
    Csv,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store holds no commit: run the dataflow first.
    #[error("nothing is counted yet: the store holds no commit")]
    Empty,
    /// The dataflow made commits while the rows were read. Stop it and export again, or use a store
    /// that provides snapshots.
    #[error(
        "the store changed during the export: after epoch {before} came another commit; stop `skytide index` \
         during the export, or use a replica set of MongoDB 5.0 or later, which provides snapshots"
    )]
    Moved {
        /// The newest epoch when the export started.
        before: u64,
    },
    /// A commit is incomplete, so the rows belong to no epoch.
    #[error(
        "the commit up to epoch {intent} is incomplete: run `skytide index` until it has completed the commit, \
         then export again"
    )]
    Unfinished {
        /// The last epoch of the commit.
        intent: u64,
    },
    /// The rows differ from those that the commit recorded: the store is damaged.
    #[error(
        "view {view:?} is damaged: it holds {found} rows, and its commit recorded {recorded} rows or other \
         contents"
    )]
    Differs {
        /// The view.
        view: &'static str,
        /// Rows read.
        found: i64,
        /// Rows recorded.
        recorded: i64,
    },
    /// The store cannot be read.
    #[error("cannot read the view store")]
    Store(#[from] StoreError),
    /// A row cannot be decoded: the store is damaged or of another version.
    #[error("cannot decode a row of view {view:?}")]
    Row {
        /// The view.
        view: &'static str,
        /// The cause.
        #[source]
        source: RowError,
    },
    /// Another process writes an export to the folder. Choose another folder, or wait until it is
    /// done.
    #[error(
        "another process is writing an export to {0:?}: use another folder, or wait until it is done"
    )]
    Busy(PathBuf),
    /// The process that requested the export no longer reads it.
    #[error("cannot send the export")]
    Sent(#[source] io::Error),
    /// A file or a folder cannot be written.
    #[error("cannot write {path:?}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Writes every view that is computed and the summary to `folder`, which is created if it does not
/// exist. Replaces the files of an earlier export in either format.
///
/// # Errors
///
/// See [`ExportError`]. Then the folder holds no `summary.json`.
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
///
/// See [`ExportError`]. Then the output is incomplete.
pub async fn export_to(
    reader: &dyn ViewReader,
    output: &mut dyn Output,
    format: Format,
) -> Result<Summary, ExportError> {
    let committed = committed(reader).await?;
    output.begin().await?;
    let recipe = committed.recipe.as_ref();
    let computed = |view: &ViewId| recipe.is_none_or(|recipe| recipe.views.contains_key(view));
    for view in ViewId::ALL.iter().copied().filter(computed) {
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
    output.complete(&summary.report()).await?;
    Ok(summary)
}

impl Format {
    /// The file name of a view.
    fn file_name(self, view: ViewId) -> String {
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

/// Writes one view. Returns the checksum of the rows read.
async fn write_view(
    reader: &dyn ViewReader,
    view: ViewId,
    output: &mut dyn Output,
    format: Format,
) -> Result<Sum, ExportError> {
    let damaged = |source| ExportError::Row {
        view: view.name(),
        source,
    };
    let name = format.file_name(view);
    let failed = |source| ExportError::write(Path::new(&name), source);
    let mut table = Table::new(format, &rows::sample(view)).map_err(failed)?;
    output.file(&name).await?;
    let mut merger = RowMerger::of(view);
    let mut pages = Pages::new(reader, view, Key::default(), None);
    let mut sum = Sum::default();
    let mut records = Vec::new();
    while let Some(page) = pages.next().await? {
        for row in &page {
            sum.rows += 1;
            let hash = row_hash(view, row.key.as_bytes(), &row.row);
            sum.hash = sum.hash.wrapping_add(hash);
            merger.push(row, &mut records).map_err(damaged)?;
            for record in records.drain(..) {
                table.add(&record).map_err(failed)?;
            }
            if table.bytes() >= CHUNK_BYTES {
                output.write(table.take().map_err(failed)?).await?;
            }
        }
    }
    merger.finish(&mut records);
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

/// Reads the rows of a view in the order of their keys, one page at a time.
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
            self.from = page.last().map(|row| successor(&row.key));
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// The smallest key after this one.
fn successor(key: &Key) -> Key {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    Key::from(bytes.as_slice())
}
