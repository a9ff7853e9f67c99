//! Unix sockets in a folder, on which other processes send requests: those in the data folder, and
//! those of the flight records.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Name of the socket in the data folder on which exports are requested.
pub const SOCKET: &str = "export.sock";
/// Maximum length of the path of a socket, in bytes. Linux allows 107, other systems 103.
const PATH_BYTES_MAX: usize = 100;
/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// The pause after an error of a socket.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// The permissions of the socket: only the user of this process may connect.
const MODE: u32 = 0o600;

/// A listening socket. Dropping this removes its file.
pub struct Listener {
    listener: UnixListener,
    address: SocketPath,
}

impl Listener {
    /// Listens on the socket of this name in this data folder. The caller must hold a lock in this
    /// folder that every process that listens on the socket holds. So a socket that exists already
    /// belongs to no running process, and is replaced.
    ///
    /// # Errors
    ///
    /// The folder contains another kind of file with the name of the socket, or the system refuses
    /// to listen.
    pub fn bind(data: &Path, name: &str) -> io::Result<Self> {
        let address = SocketPath::of(data, name)?;
        remove_socket(&address.path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&address.path)?)?;
        // No client can connect before `listen`.
        fs::set_permissions(&address.path, Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, address })
    }

    /// Waits for the next client.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Serves clients, at most `clients_max` at the same time, until the future is dropped.
    pub async fn serve_clients<F>(&self, clients_max: usize, serve: impl Fn(UnixStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut clients = JoinSet::new();
        loop {
            while clients.len() >= clients_max {
                // A panic of a task has already been reported.
                let _joined = clients.join_next().await;
            }
            match self.accept().await {
                Ok(stream) => {
                    clients.spawn(serve(stream));
                }
                // For example, the process has too many open files. Clients in progress continue.
                Err(error) => {
                    let socket = self.address.path.display();
                    tracing::warn!(%error, %socket, "cannot accept a client on a socket");
                    sleep(RETRY_PAUSE).await;
                }
            }
            while clients.try_join_next().is_some() {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = remove_socket(&self.address.path) {
            tracing::debug!(%error, "cannot remove the socket");
        }
    }
}

/// Connects to the process that listens on the socket of this name in a folder.
///
/// # Errors
///
/// `NotFound` or `ConnectionRefused` if no process listens.
pub async fn connect(data: &Path, name: &str) -> io::Result<UnixStream> {
    let address = SocketPath::of(data, name)?;
    UnixStream::connect(&address.path).await
}

/// The path of the socket, short enough for the system. A long path is replaced by a path through
/// an open file descriptor of the data folder.
struct SocketPath {
    path: PathBuf,
    /// The open data folder, if `path` goes through its file descriptor.
    _folder: Option<File>,
}

impl SocketPath {
    fn of(data: &Path, name: &str) -> io::Result<Self> {
        let path = data.join(name);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self {
                path,
                _folder: None,
            });
        }
        if !cfg!(target_os = "linux") {
            let what = format!("the path of the data folder is longer than {PATH_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let folder = File::open(data)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }
}

/// Removes the socket if it exists.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => {
            let what = format!("{} is not a socket", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connects(data: &Path) {
        let listener = Listener::bind(data, SOCKET).expect("a listener");
        let mode = fs::metadata(data.join(SOCKET))
            .expect("a socket")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let (connected, accepted) = tokio::join!(connect(data, SOCKET), listener.accept());
        connected.expect("connected");
        accepted.expect("accepted");
        drop(listener);
        assert!(!data.join(SOCKET).exists());
        let kind = connect(data, SOCKET)
            .await
            .map(drop)
            .map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn a_client_connects_to_the_socket_of_a_data_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        connects(folder.path()).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_connects_although_the_path_is_longer_than_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).expect("the folders");
        connects(&deep).await;
    }

    #[tokio::test]
    async fn a_socket_of_a_killed_process_is_replaced_and_a_regular_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(SOCKET);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "the socket outlives its process");
        let kind = connect(folder.path(), SOCKET).await.map(drop);
        let kind = kind.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::ConnectionRefused));
        connects(folder.path()).await;
        fs::write(&path, "a diary").expect("written");
        assert!(Listener::bind(folder.path(), SOCKET).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "a diary");
    }
}
