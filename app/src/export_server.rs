//! Exports of a store that another process has open: that process reads the rows, the process that asks writes the files.
//!
//! ```text
//! skytide export ─ Request ─▶ data/export.sock ─▶ the process with the store: reads one commit
//!        DIR ◀─ files ─ File, Data, Data, ..., Complete | Failed ◀─┘
//! ```
//!
//! So the files are written where the user asks, with the user's rights, whatever folders the service may write to. The
//! socket is open to the user of the service and to root.
//!
//! Serving exports is a side job of this process: failures are logged and retried and never stop the service. A client
//! that reads nothing for [`STALL_MAX`] is disconnected, because the snapshot that it holds costs disk.

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

use crate::export::{ExportError, Format, Outline, Output, export_to};
use crate::failure::chain;
pub use protocol::{Message, Request, VERSION, receive, send};
use skytide_embedded::EmbeddedStore;
use socket::Listener;
pub use socket::{SOCKET, connect};

/// Exports at once; further ones wait.
const EXPORTS_MAX: usize = 2;
/// Connections at once; further ones wait in the system's queue.
const CLIENTS_MAX: usize = 16;
/// How long a client may take to send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long a client may read nothing.
pub const STALL_MAX: Duration = Duration::from_secs(60);
/// The pause after the socket failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Sends exports to other processes, for as long as this is awaited. The caller holds the store of this data folder.
pub async fn serve(data: PathBuf, store: Arc<EmbeddedStore>) {
    let listener = listen(&data).await;
    let turns = Arc::new(Semaphore::new(EXPORTS_MAX));
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS_MAX {
            // A panic was reported when it happened.
            let _ended = clients.join_next().await;
        }
        match listener.accept().await {
            Ok(stream) => {
                clients.spawn(answer(stream, store.clone(), turns.clone()));
            }
            // As when the process has too many open files: exports under way go on.
            Err(error) => {
                tracing::warn!(%error, "a client that wants an export was not accepted");
                sleep(RETRY_PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Listens, once that is possible.
async fn listen(data: &Path) -> Listener {
    let mut failed = false;
    loop {
        match Listener::bind(data) {
            Ok(listener) => return listener,
            Err(error) if !failed => {
                let what = "`skytide export` cannot ask this process, trying again";
                tracing::warn!(%error, ?data, "{what}");
            }
            Err(_) => {}
        }
        failed = true;
        sleep(RETRY_PAUSE).await;
    }
}

/// Serves one client.
async fn answer(stream: UnixStream, store: Arc<EmbeddedStore>, turns: Arc<Semaphore>) {
    let mut client = Client(stream);
    let request = match client.request().await {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%error, "a client did not ask for an export");
            return;
        }
    };
    let outcome = match request {
        Ok(format) => {
            let _turn = turns.acquire().await.expect("never closed");
            let exported = export_to(&store.snapshot_reader(), &mut client, format).await;
            exported
                .map(|summary| summary.outline())
                .map_err(|error| chain(&error))
        }
        Err(why) => Err(why),
    };
    match &outcome {
        Ok(outline) => tracing::info!(?outline, "export sent to another process"),
        Err(why) => {
            tracing::info!(why, "export for another process failed");
            // A client that has gone needs no reason.
            let _gone = client.send(Message::Failed(why.clone())).await;
        }
    }
}

/// The process that asks, as the output of an export.
struct Client(UnixStream);

impl Client {
    /// The format that is asked for, or why the request cannot be served.
    async fn request(&mut self) -> io::Result<Result<Format, String>> {
        let received = timeout(REQUEST_MAX, receive(&mut self.0)).await??;
        let Message::Request(Request { version, csv }) = received else {
            return Ok(Err("the request is of another form".to_owned()));
        };
        if version != VERSION {
            return Ok(Err(format!(
                "the request is of version {version}, this process knows {VERSION}: use the same skytide for both"
            )));
        }
        Ok(Ok(if csv { Format::Csv } else { Format::Ndjson }))
    }

    async fn send(&mut self, message: Message) -> Result<(), ExportError> {
        let sent = timeout(STALL_MAX, send(&mut self.0, &message)).await;
        let sent = sent.unwrap_or_else(|late| Err(late.into()));
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

    async fn complete(&mut self, outline: &Outline) -> Result<(), ExportError> {
        self.send(Message::Complete(outline.clone())).await
    }
}
