//! Serves `skytide audit`: one request and one answer, each a line of JSON, on a Unix socket in the
//! data folder.
//!
//! The process that runs the dataflow listens, also if its views are on MongoDB or its log on NATS:
//! the checkpoints in its data folder are those of its views. Of several processes on one folder
//! (a standby), the one that holds `audit.lock` listens.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skytide_core::port::audit::AuditReport;
use skytide_embedded::{DataDirError, Hold};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::AuditService;
use crate::export_server::socket::{Listener, connect};
use crate::failure::chain;

/// Name of the socket in the data folder.
const SOCKET: &str = "audit.sock";
/// Name of the file in the data folder that the process with the socket locks.
const LOCK: &str = "audit.lock";
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
/// The numbers of random rows that a request may name.
const ROWS: std::ops::RangeInclusive<usize> = 10..=10_000_000;
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

/// Serves requests until the future is dropped. Waits until no other process listens in the data
/// folder.
pub async fn serve_audits(data: PathBuf, audits: Arc<AuditService>) {
    let (_lock, listener) = listen(&data).await;
    let serve_one = |stream| serve_client(stream, audits.clone());
    listener.serve_clients(CLIENTS_MAX, serve_one).await;
}

/// Listens on the socket. Retries until this succeeds.
async fn listen(data: &Path) -> (Hold, Listener) {
    let mut failed = false;
    loop {
        let listening = match Hold::take(&data.join(LOCK)) {
            Ok(lock) => Listener::bind(data, SOCKET)
                .map(|listener| (lock, listener))
                .map_err(|error| error.to_string()),
            Err(DataDirError::Held { .. }) => {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(error) => Err(error.to_string()),
        };
        match listening {
            Ok(listening) => return listening,
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
        Ok(AuditRequest {
            rows: Some(rows), ..
        }) if !ROWS.contains(&rows) => {
            Answer::Failed(format!("the number of rows is not within {ROWS:?}"))
        }
        Ok(request) if request.version == VERSION => {
            let audited = tokio::select! {
                audited = audits.audit(request.rows) => audited,
                () = disconnected(&mut stream) => {
                    tracing::info!("a client disconnected: its audit is cancelled");
                    return;
                }
            };
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

/// Waits until the client disconnects. What it sends after its request is ignored.
async fn disconnected(stream: &mut BufReader<UnixStream>) {
    let mut ignored = [0; 64];
    while let Ok(1..) = stream.read(&mut ignored).await {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_disconnects_is_noticed_whatever_it_sent() {
        let (mut client, server) = UnixStream::pair().expect("sockets");
        let mut server = BufReader::new(server);
        client.write_all(b"more").await.expect("sent");
        let mut noticed = Box::pin(disconnected(&mut server));
        tokio::select! {
            biased;
            () = &mut noticed => panic!("the client is connected"),
            () = tokio::task::yield_now() => {}
        }
        drop(client);
        noticed.await;
    }

    #[tokio::test]
    async fn one_process_listens_in_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, listener) = listen(folder.path()).await;
        let path = folder.path().to_owned();
        let mut other = Box::pin(listen(&path));
        tokio::select! {
            biased;
            _ = &mut other => panic!("two processes listen"),
            () = tokio::task::yield_now() => {}
        }
        drop((listener, lock));
        tokio::time::pause();
        let _listening = other.await;
        connect(folder.path(), SOCKET).await.expect("connected");
    }
}
