//! Sends the flight record to `skytide doctor`, on a socket in `STORE_DIR/flight`. Only the user of
//! the service and root may connect.
//!
//! ```text
//! client connects ─▶ size of the archive u64, big-endian │ archive
//! ```
//!
//! This is a side job of the process: failures are logged and never stop the service.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::place;
use super::recorder::FlightRecorder;
use crate::export_server::Listener;

/// How long a client may take to read the record.
const SEND_MAX: Duration = Duration::from_secs(10);
/// The pause after an error of the socket.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Serves the record until the future is dropped. Clients are served one after the other.
pub async fn serve(folder: &Path, recorder: Arc<FlightRecorder>) {
    let listener = match listen(folder, &recorder) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, ?folder, "cannot serve the flight record to `skytide doctor`");
            return;
        }
    };
    loop {
        let sent = match listener.accept().await {
            Ok(stream) => send(stream, &recorder).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "cannot send the flight record");
            sleep(RETRY_PAUSE).await;
        }
    }
}

fn listen(folder: &Path, recorder: &FlightRecorder) -> io::Result<Listener> {
    std::fs::create_dir_all(folder)?;
    remove_stale(folder);
    let process = recorder.process();
    // In a container, every process may have the same number.
    let random = RandomState::new().hash_one(process.pid) >> 48;
    let name = format!("{}-{}-{random:04x}.sock", process.service, process.pid);
    Listener::bind(folder, &name)
}

/// Removes the sockets of processes that were killed.
fn remove_stale(folder: &Path) {
    for name in place::names(folder, "", ".sock") {
        let path = folder.join(name);
        let connected = std::os::unix::net::UnixStream::connect(&path);
        let is_refused =
            connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if is_refused {
            // Another process may have removed it in the meantime.
            let _removed = std::fs::remove_file(&path);
        }
    }
}

async fn send(mut stream: UnixStream, recorder: &Arc<FlightRecorder>) -> io::Result<()> {
    let recorder = recorder.clone();
    let archive = spawn_blocking(move || recorder.archive(None)).await;
    let archive = archive.map_err(io::Error::other)?;
    let sending = async {
        stream.write_u64(archive.len() as u64).await?;
        stream.write_all(&archive).await?;
        stream.shutdown().await
    };
    timeout(SEND_MAX, sending).await?
}
