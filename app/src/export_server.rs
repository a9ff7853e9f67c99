//! Serves another process that cannot open the store itself, because this process has it open:
//! exports the store, runs jobs, and reports their states. For an export, this process reads the
//! rows, and the other process writes the files.
//!
//! ```text
//! skytide export ─ Request ─▶ data/export.sock ─▶ the process with the store: reads one commit
//!        DIR ◀─ files ─ File, Data, Data, ..., Complete | Failed ◀─┘
//! skytide schedule --run ─ JobRequest ─▶ data/export.sock ─▶ the scheduler: runs the job
//!        report ◀─ JobAnswer | Failed ◀─┘
//! ```
//!
//! So the files are written with the rights of the user who runs the export, even to folders that
//! the service may not write to. Only the user of the service and root may connect to the socket.
//!
//! Serving requests is a side job of this process: failures are logged and retried and never stop
//! the service. A client that reads nothing for [`STALL_MAX`] is disconnected, because its snapshot
//! occupies disk space.

mod protocol;
pub(crate) mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::export::{ExportError, ExportReport, Format, Output, export_to};
use crate::failure::chain;
pub use protocol::{JobAnswer, JobRequest, Message, Request, VERSION, receive, send};
use skytide_core::port::job::JobRunner;
use skytide_embedded::EmbeddedStore;
pub use socket::{Listener, SOCKET, connect};

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

/// What the clients can request.
#[derive(Clone)]
struct Services {
    store: Arc<EmbeddedStore>,
    export_permits: Arc<Semaphore>,
    /// `None`: this process has no scheduler.
    jobs: Option<Arc<dyn JobRunner>>,
}

/// Serves exports and requests for jobs of other processes until the future is dropped. The caller
/// must hold the lock on the store of this data folder.
pub async fn serve(data: PathBuf, store: Arc<EmbeddedStore>, jobs: Option<Arc<dyn JobRunner>>) {
    let listener = listen(&data).await;
    let services = Services {
        store,
        export_permits: Arc::new(Semaphore::new(EXPORTS_MAX)),
        jobs,
    };
    let serve_one = |stream| serve_client(stream, services.clone());
    listener.serve_clients(CLIENTS_MAX, serve_one).await;
}

/// Listens on the socket. Retries until this succeeds.
async fn listen(data: &Path) -> Listener {
    let mut failed = false;
    loop {
        match Listener::bind(data, SOCKET) {
            Ok(listener) => return listener,
            Err(error) if !failed => {
                let what = "cannot listen for `skytide export` and `skytide schedule --run`; \
                            retrying";
                tracing::warn!(%error, ?data, "{what}");
            }
            Err(_) => {}
        }
        failed = true;
        sleep(RETRY_PAUSE).await;
    }
}

/// Serves one client.
async fn serve_client(stream: UnixStream, services: Services) {
    let mut client = Client(stream);
    let received = timeout(REQUEST_MAX, receive(&mut client.0)).await;
    let served = match received.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(Message::Request(request)) => client.export(&request, &services).await,
        Ok(Message::JobRequest(request)) => client.job(&request, services.jobs.as_deref()).await,
        Ok(_) => Err("the first message is not a request".to_owned()),
        Err(error) => {
            tracing::debug!(%error, "a client did not send a request");
            return;
        }
    };
    if let Err(why) = served {
        tracing::info!(why, "request of another process failed");
        // A client that has disconnected needs no reason.
        let _disconnected = client.send(Message::Failed(why)).await;
    }
}

/// The client, as the output of an export.
struct Client(UnixStream);

impl Client {
    /// Sends an export. The error says why it failed.
    async fn export(&mut self, request: &Request, services: &Services) -> Result<(), String> {
        supports(request.version)?;
        let format = match request.csv {
            true => Format::Csv,
            false => Format::Ndjson,
        };
        let _permit = services.export_permits.acquire().await;
        let exported = export_to(&services.store.snapshot_reader(), self, format).await;
        let report = exported.map_err(|error| chain(&error))?.report();
        tracing::info!(?report, "export sent to another process");
        Ok(())
    }

    /// Runs a job and sends its result, or sends the states of the jobs. The error says why neither
    /// is possible.
    async fn job(
        &mut self,
        request: &JobRequest,
        jobs: Option<&dyn JobRunner>,
    ) -> Result<(), String> {
        supports(request.version)?;
        let no_scheduler = "this process runs no jobs: `skytide up` and `skytide schedule` do";
        let jobs = jobs.ok_or(no_scheduler)?;
        let answer = match &request.run {
            Some(name) => {
                tracing::info!(job = name, "another process requested a run");
                JobAnswer::Run(jobs.run_now(name).await)
            }
            None => {
                let states = jobs.states().await.map_err(|error| chain(&error))?;
                JobAnswer::States(states)
            }
        };
        let sent = self.send(Message::JobAnswer(answer)).await;
        sent.map_err(|error| chain(&error))
    }

    async fn send(&mut self, message: Message) -> Result<(), ExportError> {
        let sent = timeout(STALL_MAX, send(&mut self.0, &message)).await;
        let sent = sent.unwrap_or_else(|elapsed| Err(elapsed.into()));
        sent.map_err(ExportError::Sent)
    }
}

/// Checks the version of a request.
fn supports(version: u32) -> Result<(), String> {
    if version == VERSION {
        return Ok(());
    }
    Err(format!(
        "the request has version {version} and this process supports version {VERSION}: use the \
         same skytide for both"
    ))
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
