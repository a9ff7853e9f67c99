//! Serves `skytide audit`: one request and one answer, each a line of JSON, on a Unix socket in the
//! data folder.
//!
//! The process that runs the dataflow listens, also if its views are on MongoDB or its log on NATS:
//! only it may read the checkpoints in its data folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skytide_core::port::audit::AuditReport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::AuditService;
use crate::export_server::socket::{Listener, connect};
use crate::failure::chain;

/// Name of the socket in the data folder.
const SOCKET: &str = "audit.sock";
/// Version of the messages.
const VERSION: u32 = 1;
/// Maximum number of open connections. Further ones wait in the queue of the operating system.
const CLIENTS_MAX: usize = 4;
/// How long a client may take to send its request.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The size of the longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 4 << 10;
/// The size of the longest answer, in bytes: two lists for each difference.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// The pause after an error of the socket.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// A request for an audit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRequest {
    /// The [`VERSION`] of the process that sends the request.
    version: u32,
    /// About this many random rows; `None` for all.
    rows: Option<usize>,
}

impl AuditRequest {
    /// A request for about this many random rows, or for all.
    pub fn new(rows: Option<usize>) -> Self {
        Self {
            version: VERSION,
            rows,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The audit was made.
    Report(Box<AuditReport>),
    /// The audit was not possible, with the reason.
    Failed(String),
}

/// Serves requests until the future is dropped. Waits until this process holds the lock on the
/// checkpoints of the data folder.
pub async fn serve_audits(data: PathBuf, audits: Arc<AuditService>) {
    let listener = listen(&data, &audits).await;
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= CLIENTS_MAX {
            // A panic of a task has already been reported.
            let _joined = clients.join_next().await;
        }
        match listener.accept().await {
            Ok(stream) => {
                clients.spawn(serve_client(stream, audits.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client on audit.sock in the data folder");
                sleep(RETRY_PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Listens on the socket. Retries until this succeeds.
async fn listen(data: &Path, audits: &AuditService) -> Listener {
    let mut failed = false;
    loop {
        let listening = match audits.lock_checkpoints().await {
            Ok(()) => Listener::bind(data, SOCKET).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match listening {
            Ok(listener) => return listener,
            Err(error) if !failed => {
                tracing::warn!(error, ?data, "cannot listen for `skytide audit`; retrying");
            }
            Err(_) => {}
        }
        failed = true;
        sleep(RETRY_PAUSE).await;
    }
}

async fn serve_client(stream: UnixStream, audits: Arc<AuditService>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut limited = (&mut stream).take(REQUEST_BYTES_MAX);
    let received = timeout(REQUEST_MAX, limited.read_line(&mut line)).await;
    if !matches!(received, Ok(Ok(1..))) {
        tracing::debug!("a client did not send a request for an audit");
        return;
    }
    let answer = match serde_json::from_str::<AuditRequest>(&line) {
        Ok(request) if request.version == VERSION => {
            let audited = audits.audit(request.rows, 1).await;
            match audited {
                Ok(report) => Answer::Report(Box::new(AuditReport::clone(&report))),
                Err(failure) => Answer::Failed(chain(&failure)),
            }
        }
        _ => Answer::Failed("use the same version of skytide for both processes".to_owned()),
    };
    let Ok(mut bytes) = serde_json::to_vec(&answer) else {
        return;
    };
    bytes.push(b'\n');
    // A client that has disconnected needs no answer.
    let _sent = timeout(REQUEST_MAX, stream.get_mut().write_all(&bytes)).await;
}

/// Requests an audit from the process that runs the dataflow on this data folder. Returns `None` if
/// there is no such process.
///
/// # Errors
///
/// The process does not answer.
pub async fn request_audit(data: &Path, request: &AuditRequest) -> io::Result<Option<Answer>> {
    let stream = match connect(data, SOCKET).await {
        Ok(stream) => stream,
        Err(error) => {
            use io::ErrorKind::{ConnectionRefused, NotFound};
            return match error.kind() {
                NotFound | ConnectionRefused => Ok(None),
                _ => Err(error),
            };
        }
    };
    let mut stream = BufReader::new(stream);
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    stream.get_mut().write_all(&bytes).await?;
    let mut line = String::new();
    (&mut stream)
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut line)
        .await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_str(&line)?))
}
