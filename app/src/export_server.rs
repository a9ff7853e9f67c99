//! Exports the store of this process for another process, which cannot open the store itself. This
//! process reads the rows, and the other process writes the files.
//!
//! ```text
//! skytide export ─ Request ─▶ data/export.sock ─▶ the process with the store: reads one commit
//!        DIR ◀─ files ─ File, Data, Data, ..., Complete | Failed ◀─┘
//! ```
//!
//! So the files are written with the rights of the user who runs the export, even to folders that
//! the service may not write to. Only the user of the service and root may connect to the socket.
//!
//! Serving exports is a side job of this process: failures are logged and retried and never stop
//! the service. A client that reads nothing for [`STALL_MAX`] is disconnected, because its snapshot
//! occupies disk space.

mod protocol;
mod socket;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::export::{ExportError, ExportReport, Format, Output, export_to};
use crate::failure::chain;
pub use protocol::{Message, Request, VERSION, receive, send};
use skytide_embedded::EmbeddedStore;
use socket::Listener;
pub use socket::{SOCKET, connect};

/// Maximum number of concurrent exports. Further ones wait.
const EXPORTS_MAX: usize = 2;
/// Maximum number of open connections. Further ones wait in the queue of the operating system.
const CLIENTS_MAX: usize = 16;
/// How long a client may take to send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long a client may read nothing before it is disconnected.
pub const STALL_MAX: Duration = Duration::from_secs(60);
/// The pause after an error of the socket.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Sends exports to other processes until the future is dropped. The caller must hold the lock on
/// the store of this data folder.
pub async fn serve(data: PathBuf, store: Arc<EmbeddedStore>) {
    let listener = listen(&data).await;
    let export_permits = Arc::new(Semaphore::new(EXPORTS_MAX));
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS_MAX {
            // A panic of a task has already been reported.
            let _joined = clients.join_next().await;
        }
        match listener.accept().await {
            Ok(stream) => {
                clients.spawn(serve_client(stream, store.clone(), export_permits.clone()));
            }
            // For example, the process has too many open files. Exports in progress continue.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client that requests an export");
                sleep(RETRY_PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Listens on the socket. Retries until this succeeds.
async fn listen(data: &Path) -> Listener {
    let mut failed = false;
    loop {
        match Listener::bind(data) {
            Ok(listener) => return listener,
            Err(error) if !failed => {
                let what = "cannot listen for requests of `skytide export`; retrying";
                tracing::warn!(%error, ?data, "{what}");
            }
            Err(_) => {}
        }
        failed = true;
        sleep(RETRY_PAUSE).await;
    }
}

/// Serves one client.
async fn serve_client(
    stream: UnixStream,
    store: Arc<EmbeddedStore>,
    export_permits: Arc<Semaphore>,
) {
    let mut client = Client(stream);
    let request = match client.request().await {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%error, "a client did not send a request");
            return;
        }
    };
    let outcome = match request {
        Ok(format) => {
            let _permit = export_permits.acquire().await.expect("never closed");
            let exported = export_to(&store.snapshot_reader(), &mut client, format).await;
            exported
                .map(|summary| summary.report())
                .map_err(|error| chain(&error))
        }
        Err(why) => Err(why),
    };
    match &outcome {
        Ok(report) => tracing::info!(?report, "export sent to another process"),
        Err(why) => {
            tracing::info!(why, "export for another process failed");
            // A client that has disconnected needs no reason.
            let _disconnected = client.send(Message::Failed(why.clone())).await;
        }
    }
}

/// The client, as the output of an export.
struct Client(UnixStream);

impl Client {
    /// Receives the request. Returns the requested format, or why the request cannot be served.
    async fn request(&mut self) -> io::Result<Result<Format, String>> {
        let received = timeout(REQUEST_MAX, receive(&mut self.0)).await??;
        let Message::Request(Request { version, csv }) = received else {
            return Ok(Err("the first message is not a request".to_owned()));
        };
        if version != VERSION {
            return Ok(Err(format!(
                "the request has version {version} and this process supports version {VERSION}: use the same \
                 skytide for both"
            )));
        }
        Ok(Ok(if csv { Format::Csv } else { Format::Ndjson }))
    }

    async fn send(&mut self, message: Message) -> Result<(), ExportError> {
        let sent = timeout(STALL_MAX, send(&mut self.0, &message)).await;
        let sent = sent.unwrap_or_else(|elapsed| Err(elapsed.into()));
        sent.map_err(ExportError::Sent)
    }
}

#[async_trait]
impl Output for Client {
    async fn begin(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    async fn file(&mut self, name: &str) -> Result<(), ExportError> {
        self.send(Message::File(name.to_owned())).await
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ExportError> {
        for chunk in bytes.chunks(protocol::PAYLOAD_BYTES_MAX) {
            self.send(Message::Data(chunk.to_vec())).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, report: &ExportReport) -> Result<(), ExportError> {
        self.send(Message::Complete(report.clone())).await
    }
}
