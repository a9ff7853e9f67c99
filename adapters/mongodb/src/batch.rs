//! Writes rows to the database: in batches of one view each, several of them in flight.

use futures_util::stream::{self, TryStreamExt};
use mongodb::bson::raw::{CStr, cstr};
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{StoreError, Term};
use skytide_core::view::{Change, Key, ViewId};

use super::connection::Connection;
use super::error::{DUPLICATE_KEY, failed};
use super::row::RowEpoch;
use super::values::number;
use super::{guard, key, row};

const WRITE: &str = "write rows";
/// The size of the statements in one command, in bytes. A command is limited to 16 MiB
/// (<https://www.mongodb.com/docs/manual/reference/limits/#bson-documents>).
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The maximum size of one statement in bytes. A statement that is alone in a command must leave
/// room for the other fields of the command.
const STATEMENT_BYTES_MAX: usize = 15 << 20;

/// A commit is not divided into batches with fewer rows than this, unless [`BatchLimits::rows_max`]
/// is smaller.
const SPLIT_ROWS_MIN: usize = 100;

/// A large commit is divided into at least this many batches per connection. Connections that
/// finish early are then idle for at most the time of one batch.
const BATCHES_PER_CONNECTION_MIN: usize = 4;

/// Batches with fewer rows than this are not made only to reach [`BATCHES_PER_CONNECTION_MIN`],
/// because each batch waits for the journal.
const EVEN_ROWS_MIN: usize = 300;

/// Limits on the batches of a commit.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// The maximum number of rows in a batch.
    pub rows_max: usize,
    /// The maximum number of batches in flight.
    pub batches_max: usize,
}

impl BatchLimits {
    /// The number of rows in each batch of a commit with `count` rows, so that all connections get
    /// an equal share.
    fn rows_per_batch(self, count: usize) -> usize {
        let batches_max = self.batches_max.max(1);
        let rounds = count.div_ceil(self.rows_max.max(1) * batches_max);
        let useful = (count / (EVEN_ROWS_MIN * batches_max)).clamp(1, BATCHES_PER_CONNECTION_MIN);
        let even = count.div_ceil(rounds.max(useful) * batches_max);
        even.clamp(SPLIT_ROWS_MIN.min(self.rows_max), self.rows_max)
            .max(1)
    }
}

/// The writer and the commit that rows belong to.
#[derive(Clone, Copy, Debug)]
pub struct WriteOrder {
    /// The term of the writer.
    pub term: Term,
    /// The epoch at the end of the commit.
    pub epoch: Epoch,
    /// Whether the commit replaces all rows, including those of later epochs.
    pub replaces_all: bool,
}

/// Why rows were not written.
pub enum WriteError {
    /// The guard has another term or too high a floor, or a stored row is of a later epoch.
    Superseded,
    /// Any other error.
    Failed(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Changes that are not written yet.
#[derive(Debug, Default)]
pub struct Pending {
    changes: Vec<(ViewId, Change)>,
    bytes: usize,
}

impl Pending {
    /// Adds changes of a view.
    pub fn push(&mut self, view: ViewId, changes: Vec<Change>) {
        self.bytes += changes.iter().map(Change::bytes).sum::<usize>();
        self.changes
            .extend(changes.into_iter().map(|change| (view, change)));
    }

    /// Whether there are enough changes to keep all connections busy.
    pub fn is_large(&self, limits: BatchLimits) -> bool {
        self.changes.len() >= limits.rows_max * limits.batches_max
            || self.bytes >= BATCH_BYTES_MAX * limits.batches_max
    }

    /// Discards all changes.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.bytes = 0;
    }

    /// The views in which rows will be removed.
    pub fn views_with_removals(&self) -> impl Iterator<Item = ViewId> {
        let removals = self
            .changes
            .iter()
            .filter(|(_, change)| change.row.is_none());
        removals.map(|(view, _)| *view)
    }

    /// Writes all changes. They stay pending if that fails or if the future is dropped; writing
    /// them again changes nothing.
    pub async fn write(
        &mut self,
        connection: &Connection,
        order: WriteOrder,
        limits: BatchLimits,
    ) -> Result<(), WriteError> {
        self.keep_last();
        let term = number(order.term.0)?;
        let at = RowEpoch {
            epoch: number(order.epoch.0)?,
            replaces_all: order.replaces_all,
        };
        let of_one_view = self.changes.chunk_by(|(a, _), (b, _)| a == b);
        let rows_max = limits.rows_per_batch(self.changes.len());
        let batches = of_one_view.flat_map(|rows| rows.chunks(rows_max));
        stream::iter(batches.map(Ok::<_, WriteError>))
            .try_for_each_concurrent(limits.batches_max.max(1), |rows| async move {
                write_batch(connection, term, at, rows).await
            })
            .await?;
        self.clear();
        Ok(())
    }

    /// Keeps only the last change of each key. Sorts by key, like the server's B-trees.
    fn keep_last(&mut self) {
        self.changes.reverse();
        self.changes
            .sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        self.changes
            .dedup_by(|(a, x), (b, y)| (a, &x.key) == (b, &y.key));
    }
}

/// Writes rows of one view: in one command, or in several if the rows are very large.
async fn write_batch(
    connection: &Connection,
    term: i64,
    at: RowEpoch,
    rows: &[(ViewId, Change)],
) -> Result<(), WriteError> {
    let Some((view, _)) = rows.first() else {
        return Ok(());
    };
    let epoch = at.epoch;
    let mut statements = Statements::new(term, epoch);
    for (_, change) in rows {
        let statement = row::statement(*view, change, at);
        let bytes = statement.as_bytes().len();
        if bytes > STATEMENT_BYTES_MAX {
            let why = format!("its document has {bytes} bytes");
            return Err(StoreError::rejected(*view, &change.key, why).into());
        }
        if !statements.keys.is_empty() && statements.bytes + bytes > BATCH_BYTES_MAX {
            let full = std::mem::replace(&mut statements, Statements::new(term, epoch));
            send(connection, *view, full).await?;
        }
        statements.push(&change.key, statement);
    }
    if !statements.keys.is_empty() {
        send(connection, *view, statements).await?;
    }
    Ok(())
}

struct Statements<'a> {
    array: RawArrayBuf,
    /// The keys of the rows: one for each statement after the guard's.
    keys: Vec<&'a Key>,
    bytes: usize,
}

impl<'a> Statements<'a> {
    fn new(term: i64, epoch: i64) -> Self {
        let mut array = RawArrayBuf::new();
        array.push(guard::statement(term, epoch));
        Self {
            array,
            keys: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, key: &'a Key, statement: RawDocumentBuf) {
        self.keys.push(key);
        self.bytes += statement.as_bytes().len();
        self.array.push(statement);
    }
}

/// Sends the statements as one `update` command. With `ordered`, the server skips all statements
/// after the first one that fails, so nothing is written if the guard's statement fails. A single
/// server never runs the statements of a command concurrently.
async fn send(
    connection: &Connection,
    view: ViewId,
    statements: Statements<'_>,
) -> Result<(), WriteError> {
    let write_concern =
        RawDocumentBuf::try_from(connection.write_concern()).map_err(failed(WRITE))?;
    let time_max = connection.operation_timeout().as_millis();
    let time_max = i64::try_from(time_max).map_err(failed(WRITE))?;
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), view.name());
    command.append(cstr!("updates"), statements.array);
    command.append(cstr!("ordered"), true);
    command.append(TIME_MAX, time_max);
    command.append(cstr!("writeConcern"), write_concern);
    let answer = connection.command(WRITE, command).await?;
    check(&answer, view, &statements.keys)
}

/// The field of a command with its time limit. The server aborts a command that takes longer, so no
/// batch is in flight for longer.
const TIME_MAX: &CStr = cstr!("maxTimeMS");

/// Error codes with which the server rejects a statement permanently: the document is too large,
/// invalid, or breaks a validation rule of the collection
/// (<https://www.mongodb.com/docs/manual/reference/error-codes/>).
const REJECTIONS: [i32; 7] = [2, 14, 22, 121, 10_334, 17_280, 17_419];

fn check(answer: &Document, view: ViewId, keys: &[&Key]) -> Result<(), WriteError> {
    let errors = answer.get_array("writeErrors").ok();
    let first = errors.and_then(|errors| errors.first()?.as_document());
    if let Some(error) = first {
        if error.get_i32("code").is_ok_and(|it| it == DUPLICATE_KEY) {
            return Err(WriteError::Superseded);
        }
        let why = error.get_str("errmsg").unwrap_or("a statement failed");
        let code = error.get_i32("code").unwrap_or_default();
        let index = error.get_i32("index").ok();
        let row = index.and_then(|index| usize::try_from(index).ok()?.checked_sub(1));
        if let Some(key) = row.and_then(|row| keys.get(row))
            && REJECTIONS.contains(&code)
        {
            let why = format!("error code {code}: {why}");
            return Err(StoreError::rejected(view, key, why).into());
        }
        return Err(failed(WRITE)(format!("error code {code}: {why}")).into());
    }
    if let Ok(error) = answer.get_document("writeConcernError") {
        let why = error
            .get_str("errmsg")
            .unwrap_or("the write concern was not met");
        return Err(failed(WRITE)(why.to_owned()).into());
    }
    Ok(())
}

/// Searches the stored rows under the keys in `pending` for a row of a later epoch than the commit,
/// and describes it.
pub async fn later_row(
    connection: &Connection,
    pending: &Pending,
    epoch: Epoch,
) -> Result<Option<String>, StoreError> {
    for rows in pending.changes.chunk_by(|(a, _), (b, _)| a == b) {
        let view = rows[0].0;
        let ids: Vec<String> = rows
            .iter()
            .map(|(_, it)| key::encode(it.key.as_bytes()))
            .collect();
        for ids in ids.chunks(1_000) {
            let later = doc! { "_id": { "$in": ids }, "epoch": { "$gt": number(epoch.0)? } };
            let documents = connection.database().collection::<Document>(view.name());
            let found = documents.find_one(later);
            if let Some(found) = connection.within("read rows", found).await? {
                let id = found.get_str("_id").unwrap_or_default();
                let name = view.name();
                return Ok(Some(format!(
                    "row {id:?} in {name} has a later epoch than {epoch}"
                )));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
