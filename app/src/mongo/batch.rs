//! Rows into the database: batches of one view, several of them under way.

use futures_util::stream::{self, TryStreamExt};
use mongodb::bson::raw::{CStr, cstr};
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{StoreError, Term};
use skytide_core::view::{Change, ViewId};

use super::connection::{Connection, DUPLICATE_KEY, failed};
use super::control::number;
use super::{guard, key, row};

const WRITE: &str = "write rows";
/// Bytes of statements in one command; a command may have 16 MiB
/// (<https://www.mongodb.com/docs/manual/reference/limits/#bson-documents>).
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Rows of a batch that are not worth being cut in two.
const ROWS_MIN: usize = 100;

/// Batches of each connection in a large commit, at least: at its end all connections are busy but for the time of one batch.
const ROUNDS_MIN: usize = 4;

/// Rows of a batch that are cut for no other reason: each batch waits for the journal.
const ROWS_EVEN: usize = 300;

/// How rows are written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rows of a batch, at most.
    pub rows_max: usize,
    /// Batches at the same time.
    pub batches_max: usize,
}

impl Pace {
    /// Rows of each batch, if so many are to be written: such that all connections have the same to do.
    fn rows(self, count: usize) -> usize {
        let batches_max = self.batches_max.max(1);
        let rounds = count.div_ceil(self.rows_max.max(1) * batches_max);
        let worth = (count / (ROWS_EVEN * batches_max)).clamp(1, ROUNDS_MIN);
        let even = count.div_ceil(rounds.max(worth) * batches_max);
        even.clamp(ROWS_MIN.min(self.rows_max), self.rows_max)
            .max(1)
    }
}

/// Whose rows these are, and of which epoch.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The writer.
    pub term: Term,
    /// The end of the commit.
    pub epoch: Epoch,
    /// Whether they replace rows of later epochs, too: the commit replaces everything.
    pub replaces_all: bool,
}

/// Why rows were not written.
pub enum Refusal {
    /// The guard has another term or a higher floor, or a row is of a later epoch.
    Late,
    /// Anything else.
    Error(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

/// Changes that wait to be written.
#[derive(Debug, Default)]
pub struct Pending(Vec<(ViewId, Change)>);

impl Pending {
    /// Adds changes of a view.
    pub fn push(&mut self, view: ViewId, changes: Vec<Change>) {
        self.0
            .extend(changes.into_iter().map(|change| (view, change)));
    }

    /// How many they are.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The views in which rows are to be removed.
    pub fn views_with_removals(&self) -> impl Iterator<Item = ViewId> {
        let removals = self.0.iter().filter(|(_, change)| change.row.is_none());
        removals.map(|(view, _)| *view)
    }

    /// Writes them all. They stay here if that fails or is given up: writing them again does no harm.
    pub async fn write(
        &mut self,
        connection: &Connection,
        turn: Turn,
        pace: Pace,
    ) -> Result<(), Refusal> {
        self.keep_last();
        let term = number(turn.term.0)?;
        let at = (number(turn.epoch.0)?, turn.replaces_all);
        let of_one_view = self.0.chunk_by(|(a, _), (b, _)| a == b);
        let rows_max = pace.rows(self.rows());
        let batches = of_one_view.flat_map(|rows| rows.chunks(rows_max));
        stream::iter(batches.map(Ok::<_, Refusal>))
            .try_for_each_concurrent(pace.batches_max.max(1), |rows| async move {
                write_batch(connection, term, at, rows).await
            })
            .await?;
        self.clear();
        Ok(())
    }

    /// Of the changes of a key the last one counts. Sorted by key, as the server's trees are.
    fn keep_last(&mut self) {
        self.0.reverse();
        self.0
            .sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        self.0.dedup_by(|(a, x), (b, y)| (a, &x.key) == (b, &y.key));
    }
}

/// Writes rows of one view: in one command, unless they are very large.
async fn write_batch(
    connection: &Connection,
    term: i64,
    at: (i64, bool),
    rows: &[(ViewId, Change)],
) -> Result<(), Refusal> {
    let Some((view, _)) = rows.first() else {
        return Ok(());
    };
    let epoch = at.0;
    let mut statements = Statements::new(term, epoch);
    for (_, change) in rows {
        statements.push(row::statement(*view, change, at));
        if statements.bytes >= BATCH_BYTES_MAX {
            let full = std::mem::replace(&mut statements, Statements::new(term, epoch));
            send(connection, *view, full).await?;
        }
    }
    if statements.rows > 0 {
        send(connection, *view, statements).await?;
    }
    Ok(())
}

struct Statements {
    array: RawArrayBuf,
    rows: usize,
    bytes: usize,
}

impl Statements {
    fn new(term: i64, epoch: i64) -> Self {
        let mut array = RawArrayBuf::new();
        array.push(guard::statement(term, epoch));
        Self {
            array,
            rows: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, statement: RawDocumentBuf) {
        self.rows += 1;
        self.bytes += statement.as_bytes().len();
        self.array.push(statement);
    }
}

/// `ordered`: none behind the guard's statement is done if that fails. On one server, statements are done one after the
/// other in either case.
async fn send(
    connection: &Connection,
    view: ViewId,
    statements: Statements,
) -> Result<(), Refusal> {
    let concern = RawDocumentBuf::try_from(connection.concern()).map_err(failed(WRITE))?;
    let time_max = connection.operation_max().as_millis();
    let time_max = i64::try_from(time_max).map_err(failed(WRITE))?;
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), view.name());
    command.append(cstr!("updates"), statements.array);
    command.append(cstr!("ordered"), true);
    command.append(TIME_MAX, time_max);
    command.append(cstr!("writeConcern"), concern);
    let answer = connection.command(WRITE, command).await?;
    check(&answer)
}

/// The server ends a command that takes longer, so a batch is never under way for longer than this.
const TIME_MAX: &CStr = cstr!("maxTimeMS");

fn check(answer: &Document) -> Result<(), Refusal> {
    let errors = answer.get_array("writeErrors").ok();
    let first = errors.and_then(|errors| errors.first()?.as_document());
    if let Some(error) = first {
        if error.get_i32("code").is_ok_and(|it| it == DUPLICATE_KEY) {
            return Err(Refusal::Late);
        }
        let why = error.get_str("errmsg").unwrap_or("a statement failed");
        let code = error.get_i32("code").unwrap_or_default();
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

/// Looks for a row among `pending` that is of a later epoch than the commit, and tells of it.
pub async fn later_row(
    connection: &Connection,
    pending: &Pending,
    epoch: Epoch,
) -> Result<Option<String>, StoreError> {
    for rows in pending.0.chunk_by(|(a, _), (b, _)| a == b) {
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
                    "{id:?} in {name} is of a later epoch than {epoch}"
                )));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
