//! A database, connected and looked at.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database};
use skytide_core::config::{self, Endpoint, Mongo};
use skytide_core::port::BoxError;
use skytide_core::port::store::StoreError;

use super::control;

/// The oldest server that does all we ask for.
const SERVER_MIN: [i32; 2] = [4, 4];
/// The oldest that can show one moment, where there are replicas.
const MOMENTS_MIN: [i32; 2] = [5, 0];
/// How long making one connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The server says that a unique key is there already (<https://www.mongodb.com/docs/manual/reference/error-codes/>).
pub const DUPLICATE_KEY: i32 = 11_000;

/// A MongoDB database that is ours. Clones share the client's connections.
#[derive(Clone, Debug)]
pub struct Connection {
    database: Database,
    concern: Document,
    operation_max: Duration,
    shows_moments: bool,
}

impl Connection {
    /// Connects, and looks whether the server and the data there are of a version that we know. Changes nothing.
    ///
    /// # Errors
    /// There is no address or it is not usable, nobody answers, or the server or the data are of another version.
    pub async fn open(options: &Mongo) -> Result<Self, StoreError> {
        let uri = options.uri.as_ref();
        let uri = uri.ok_or_else(|| failed("be opened")("MONGODB_URI is not set"))?;
        let operation_max = options.operation_max.0;
        let mut settings = ClientOptions::parse(uri.with_secret())
            .await
            .map_err(|why| failed("be opened")(without_secrets(uri, &why)))?;
        settings.app_name = Some("skytide".to_owned());
        settings.max_pool_size = Some(options.connections_max);
        settings.connect_timeout = Some(CONNECT_MAX.min(operation_max));
        settings.server_selection_timeout = Some(operation_max);
        let client = Client::with_options(settings).map_err(failed("be opened"))?;
        let server = look_at_server(&client, operation_max).await?;

        let majority = options.write_concern == config::WriteConcern::Majority;
        let mut settings = DatabaseOptions::default();
        let mut concern = WriteConcern::nodes(1);
        let mut w = doc! { "w": 1 };
        let mut read = ReadConcern::local();
        if majority && server.replicated {
            concern = WriteConcern::majority();
            w = doc! { "w": "majority" };
            read = ReadConcern::majority();
        }
        // What was acknowledged survives the end of the server's process, so nothing of a commit can get lost in its midst.
        concern.journal = Some(true);
        w.insert("j", true);
        settings.write_concern = Some(concern);
        settings.read_concern = Some(read);
        settings.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let connection = Self {
            database: client.database_with_options(options.database.as_str(), settings),
            concern: w,
            operation_max,
            shows_moments: server.replicated && server.version.as_slice() >= MOMENTS_MIN.as_slice(),
        };
        control::check_format(&connection).await?;
        Ok(connection)
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether the server can show what the database was at one moment.
    pub fn shows_moments(&self) -> bool {
        self.shows_moments
    }

    /// The database, for sessions that read what it was at one moment.
    pub(super) fn of_a_moment(&self) -> Database {
        let mut settings = DatabaseOptions::default();
        // Another one would be taken instead of the session's.
        settings.read_concern = Some(ReadConcern::snapshot());
        settings.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = self.database.client();
        client.database_with_options(self.database.name(), settings)
    }

    /// How long one operation may take.
    pub fn operation_max(&self) -> Duration {
        self.operation_max
    }

    /// The write concern, as a command has it.
    pub(super) fn concern(&self) -> &Document {
        &self.concern
    }

    /// Runs a command, whose answer may still tell of errors of single statements.
    pub(super) async fn command(
        &self,
        operation: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Document, StoreError> {
        let command = self.database.run_raw_command(command);
        self.within(operation, command).await
    }

    /// Waits for an operation, as long as it may take. Its connection is closed if that is too short.
    pub(super) async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let done = self.outcome(work).await;
        done.map_err(|why| failed(operation)(told(&why)))
    }

    /// The same, with an error that tells what the server said.
    pub(super) async fn outcome<T>(
        &self,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let done = tokio::time::timeout(self.operation_max, work.into_future()).await;
        done.unwrap_or_else(|_| {
            let seconds = self.operation_max.as_secs_f64();
            Err(Error::custom(format!("no answer in {seconds} s")))
        })
    }
}

/// What a server is.
struct Server {
    version: Vec<i32>,
    /// It is a replica set, or stands before some (mongos).
    replicated: bool,
}

async fn look_at_server(client: &Client, operation_max: Duration) -> Result<Server, StoreError> {
    let admin = client.database("admin");
    let ask = |command: Document| async {
        let answer = tokio::time::timeout(operation_max, admin.run_command(command)).await;
        answer
            .map_err(|_| failed("be opened")("the server does not answer"))?
            .map_err(failed("be opened"))
    };
    let build = ask(doc! { "buildInfo": 1 }).await?;
    let version = build.get_array("versionArray");
    let version = version.map(|it| {
        it.iter()
            .filter_map(mongodb::bson::Bson::as_i32)
            .collect::<Vec<_>>()
    });
    let version = version.unwrap_or_default();
    if version.as_slice() < SERVER_MIN.as_slice() {
        let text = build.get_str("version").unwrap_or("unknown");
        return Err(failed("be opened")(format!(
            "the server is MongoDB {text}, and {} is the oldest that will do",
            SERVER_MIN.map(|it| it.to_string()).join(".")
        )));
    }
    let hello = ask(doc! { "hello": 1 }).await;
    let hello = match hello {
        Ok(hello) => hello,
        // The name of the command in servers before 4.4.2.
        Err(_) => ask(doc! { "isMaster": 1 }).await?,
    };
    let mongos = hello.get_str("msg").is_ok_and(|it| it == "isdbgrid");
    Ok(Server {
        version,
        replicated: hello.contains_key("setName") || mongos,
    })
}

/// What the client says of an address, unless it repeats something secret of it.
fn without_secrets(uri: &Endpoint, why: &Error) -> String {
    let (text, uri) = (why.to_string(), uri.with_secret());
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let user = after_scheme.rsplit_once('@').map(|(user, _)| user);
    let query = uri.split_once('?').map(|(_, query)| query);
    let parts = user.into_iter().flat_map(|user| user.split(':'));
    let values = query
        .into_iter()
        .flat_map(|query| query.split(['=', '&', ',', ':']));
    let mut told = parts.chain(values).filter(|part| part.len() > 2);
    if told.any(|part| text.contains(part)) {
        return "MONGODB_URI is no usable connection string".to_owned();
    }
    format!("MONGODB_URI is no usable connection string: {text}")
}

/// What the client says of an error and its causes, without the server's answer in base 16.
pub fn told(why: &Error) -> String {
    let all = std::iter::successors(Some(why), |why| cause(why));
    let all: Vec<_> = all.map(|why| why.kind.to_string()).collect();
    all.join(": ")
}

fn cause(why: &Error) -> Option<&Error> {
    std::error::Error::source(why)?.downcast_ref()
}

/// Whether the server refused because the key is there already.
pub fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// An operation of the store failed.
pub fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Failed {
        operation,
        source: source.into(),
    }
}
