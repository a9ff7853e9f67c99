//! Opens the connection: sets the client's options, checks the server and the format of the data.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::error::Error;
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use skytide_core::config::{self, Endpoint, Mongo};
use skytide_core::port::store::StoreError;

use super::connection::Connection;
use super::control;
use super::error::failed;
use super::server::server_info;
use super::topology::Topology;

/// The oldest version whose replica sets support snapshot reads (read concern `snapshot`,
/// <https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/>).
const SNAPSHOT_VERSION_MIN: [i32; 2] = [5, 0];
/// The time limit for opening one connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

impl Connection {
    /// Connects to the server, and checks that the version of the server and the format of the data
    /// are supported. Changes nothing.
    ///
    /// # Errors
    /// The address is missing or invalid, the server does not answer, or the version of the server
    /// or the format of the data is not supported.
    pub async fn open(options: &Mongo) -> Result<Self, StoreError> {
        let uri = options.uri.as_ref();
        let uri = uri.ok_or_else(|| failed("open the connection")("MONGODB_URI is not set"))?;
        let operation_timeout = options.operation_max.0;
        let mut settings = ClientOptions::parse(uri.with_secret())
            .await
            .map_err(|why| failed("open the connection")(without_secrets(uri, &why)))?;
        settings.app_name = Some("skytide".to_owned());
        settings.max_pool_size = Some(options.connections_max);
        settings.connect_timeout = Some(CONNECT_MAX.min(operation_timeout));
        settings.server_selection_timeout = Some(operation_timeout);
        let topology = Topology::default();
        settings.sdam_event_handler = Some(topology.handler());
        let client = Client::with_options(settings).map_err(failed("open the connection"))?;
        let server = server_info(&client, operation_timeout).await?;

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
        // Waiting for the journal ensures that acknowledged writes survive a crash of the server,
        // so a commit cannot lose some of its rows.
        concern.journal = Some(true);
        w.insert("j", true);
        settings.write_concern = Some(concern);
        settings.read_concern = Some(read);
        settings.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let connection = Self {
            database: client.database_with_options(options.database.as_str(), settings),
            write_concern: w,
            operation_timeout,
            supports_snapshots: server.replicated
                && server.version.as_slice() >= SNAPSHOT_VERSION_MIN.as_slice(),
            topology,
        };
        control::check_format(&connection).await?;
        Ok(connection)
    }
}

/// Describes why the connection string is invalid. Leaves out the driver's message if it contains a
/// part of the user info or of the query, which may be a secret.
fn without_secrets(uri: &Endpoint, why: &Error) -> String {
    let (text, uri) = (why.to_string(), uri.with_secret());
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let user_info = after_scheme.rsplit_once('@').map(|(it, _)| it);
    let query = uri.split_once('?').map(|(_, query)| query);
    let parts = user_info.into_iter().flat_map(|it| it.split(':'));
    let values = query
        .into_iter()
        .flat_map(|query| query.split(['=', '&', ',', ':']));
    let mut secrets = parts.chain(values).filter(|part| part.len() > 2);
    if secrets.any(|part| text.contains(part)) {
        return "MONGODB_URI is not a valid connection string".to_owned();
    }
    format!("MONGODB_URI is not a valid connection string: {text}")
}
