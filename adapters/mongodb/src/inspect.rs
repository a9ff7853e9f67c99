//! What `skytide doctor` asks a MongoDB server: version, role, free disk, and whether the user may
//! create collections and indexes and write.

use std::hash::{BuildHasher, RandomState};

use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;

use super::connection::Connection;
use super::error::failed;

/// The start of the name of the collection in which writing is tried. A random number follows, so no
/// other program has this collection. It is dropped afterwards.
const TRIAL: &str = "doctor_trial_";

/// A server, as it describes itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The version of the server.
    pub version: String,
    /// The name of its replica set; `None` for a single server.
    pub replica_set: Option<String>,
    /// Whether it accepts writes.
    pub is_primary: bool,
    /// The names of the members that it knows.
    pub members: usize,
    /// Bytes on the disk of the server that are free, and all bytes, if the server reports them.
    pub disk: Option<(u64, u64)>,
    /// Bytes that the database has on disk.
    pub database_bytes: u64,
}

/// Asks the server of a connection.
///
/// # Errors
/// The server does not answer, or refuses the user.
pub async fn inspect(connection: &Connection) -> Result<Inspection, StoreError> {
    let build = run(connection, "read its version", doc! { "buildInfo": 1 }).await?;
    let hello = hello(connection).await?;
    let stats = run(connection, "read its size", doc! { "dbStats": 1 }).await?;
    let number = |document: &Document, name: &str| match document.get(name) {
        Some(Bson::Double(number)) => Some(*number as u64),
        Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
        Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    let total = number(&stats, "fsTotalSize").filter(|bytes| *bytes > 0);
    let used = number(&stats, "fsUsedSize");
    let disk = total.zip(used);
    Ok(Inspection {
        version: build.get_str("version").unwrap_or("unknown").to_owned(),
        replica_set: hello.get_str("setName").ok().map(str::to_owned),
        is_primary: hello.get_bool("isWritablePrimary").unwrap_or(false),
        members: hello.get_array("hosts").map_or(1, Vec::len),
        disk: disk.map(|(total, used)| (total.saturating_sub(used), total)),
        database_bytes: number(&stats, "totalSize").unwrap_or(0),
    })
}

/// The time at the server when it answers.
///
/// # Errors
/// The server does not answer, or does not report its time.
pub async fn server_time(connection: &Connection) -> Result<Timestamp, StoreError> {
    let hello = hello(connection).await?;
    let time = hello.get_datetime("localTime");
    let time = time.map_err(failed("read its time"))?;
    let ms = u64::try_from(time.timestamp_millis()).unwrap_or(0);
    Ok(Timestamp(ms))
}

/// Creates a collection with an index in the database, writes a document with the write concern of
/// the options, and drops the collection: what the service does. Takes at most three times
/// [`Connection::operation_timeout`]. If the future is dropped before, the collection may be left.
///
/// # Errors
/// The server refuses one of these operations, or does not acknowledge the write in time.
pub async fn try_to_write(connection: &Connection) -> Result<(), StoreError> {
    let name = format!("{TRIAL}{:016x}", RandomState::new().hash_one(TRIAL));
    let trial = connection.database().collection::<Document>(&name);
    let index = IndexModel::builder().keys(doc! { "trial": 1 }).build();
    let tried = async {
        let created = trial.create_index(index);
        connection.within("create an index", created).await?;
        let written = trial.insert_one(doc! { "trial": 1 });
        connection.within("write a document", written).await
    };
    let tried = tried.await.map(drop);
    let dropped = connection.within("drop a collection", trial.drop()).await;
    tried.and(dropped)
}

async fn hello(connection: &Connection) -> Result<Document, StoreError> {
    run(connection, "read its role", doc! { "hello": 1 }).await
}

async fn run(
    connection: &Connection,
    operation: &'static str,
    command: Document,
) -> Result<Document, StoreError> {
    let answer = connection.database().run_command(command);
    connection.within(operation, answer).await
}
