//! The server: its version, and whether it is replicated.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use skytide_core::port::store::StoreError;

use super::error::failed;

/// The oldest version of the server that supports all operations used here.
const SERVER_MIN: [i32; 2] = [4, 4];

/// The properties of a server.
pub struct Server {
    /// The parts of its version number.
    pub version: Vec<i32>,
    /// Whether it is a replica set, or a sharded cluster of replica sets (`mongos`).
    pub replicated: bool,
}

pub async fn server_info(
    client: &Client,
    operation_timeout: Duration,
) -> Result<Server, StoreError> {
    let admin = client.database("admin");
    let ask = |command: Document| async {
        let answer = tokio::time::timeout(operation_timeout, admin.run_command(command)).await;
        answer
            .map_err(|_| failed("open the connection")("the server does not answer in time"))?
            .map_err(failed("open the connection"))
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
        return Err(failed("open the connection")(format!(
            "the server is MongoDB {text}: upgrade it to {} or later",
            SERVER_MIN.map(|it| it.to_string()).join(".")
        )));
    }
    let hello = ask(doc! { "hello": 1 }).await;
    let hello = match hello {
        Ok(hello) => hello,
        // The name of this command in servers before 4.4.2.
        Err(_) => ask(doc! { "isMaster": 1 }).await?,
    };
    let mongos = hello.get_str("msg").is_ok_and(|it| it == "isdbgrid");
    Ok(Server {
        version,
        replicated: hello.contains_key("setName") || mongos,
    })
}
