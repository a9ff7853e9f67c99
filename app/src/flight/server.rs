//! Sends the flight record to `skytide doctor`, on a socket in `STORE_DIR/flight`. Only the user of
//! the service and root may connect.
//!
//! ```text
//! client ─ REQUEST u8 ─▶ service
//!        ◀─ size of the archive u64, big-endian │ archive ─
//! ```
//!
//! This is a side job of the process: failures are logged and never stop the service.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::place;
use super::recorder::FlightRecorder;
use crate::export_server::Listener;

/// What a client sends. A connection without it only finds out whether the process runs.
pub(super) const REQUEST: u8 = b'r';
/// How long a client may take to send the request.
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// Age from which a socket on which no process listens belongs to a process that was killed. The
/// process of a younger one may have bound it, and listen soon.
const STALE_AGE_MIN: Duration = Duration::from_secs(10);
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
        match listener.accept().await {
            Ok(stream) => {
                if let Err(error) = send(stream, &recorder).await {
                    tracing::debug!(%error, "cannot send the flight record");
                }
            }
            // For example, the process has too many open files.
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the flight record");
                sleep(RETRY_PAUSE).await;
            }
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
        let is_old = place::age(&path).is_some_and(|age| age >= STALE_AGE_MIN);
        if is_old && is_refused(&path) {
            // Another process may have removed it in the meantime.
            let _removed = std::fs::remove_file(&path);
        }
    }
}

/// Whether no process listens on this socket. Does not wait for a process whose queue is full.
fn is_refused(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    let connected: io::Result<()> = connect();
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn send(mut stream: UnixStream, recorder: &Arc<FlightRecorder>) -> io::Result<()> {
    match timeout(REQUEST_MAX, stream.read_u8()).await? {
        Ok(REQUEST) => {}
        Ok(_) => return Err(io::Error::other("the first byte is not a request")),
        // Another process looks whether this one runs.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        Err(error) => return Err(error),
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_old_sockets_without_a_process_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let bind = |name: &str| {
            let path = folder.path().join(name);
            let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
            (listener, path)
        };
        let old = SystemTime::now() - 2 * STALE_AGE_MIN;
        let make_old = |path: &Path| {
            let time = old.duration_since(SystemTime::UNIX_EPOCH).expect("a time");
            let time = rustix::fs::Timespec {
                tv_sec: time.as_secs() as i64,
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            let folder = File::open("/").expect("a folder");
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::utimensat(&folder, path, &times, flags).expect("set");
        };
        let (running, path) = bind("running.sock");
        make_old(&path);
        let (killed, path) = bind("killed.sock");
        make_old(&path);
        // Like a socket that is bound, on which its process does not listen yet.
        let (starting, _) = bind("starting.sock");
        drop((killed, starting));
        remove_stale(folder.path());
        let names = place::names(folder.path(), "", "");
        assert_eq!(names, ["running.sock", "starting.sock"]);
        drop(running);
    }
}
