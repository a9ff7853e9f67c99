//! The Unix socket in the data folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Name of the socket in the data folder.
pub const SOCKET: &str = "export.sock";
/// Bytes of a path that every Unix takes as the address of a socket; Linux takes 107, others 103.
const PATH_BYTES_MAX: usize = 100;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// Read and write for the user of this process.
const MODE: u32 = 0o600;

/// A socket that clients can connect to. Its file is removed when this is dropped.
pub struct Listener {
    listener: UnixListener,
    address: Address,
}

impl Listener {
    /// Listens in this data folder. The caller holds its store, so a socket that is there is of a process that was killed, and
    /// is replaced.
    ///
    /// # Errors
    /// Something else stands at its place, or the system refuses.
    pub fn bind(data: &Path) -> io::Result<Self> {
        let address = Address::of(data)?;
        remove_stale(&address.path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&address.path)?)?;
        // Nobody can connect before `listen`.
        fs::set_permissions(&address.path, Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, address })
    }

    /// The next client.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = remove_stale(&self.address.path) {
            tracing::debug!(%error, "the socket for exports is still there");
        }
    }
}

/// Connects to the process that has the store of this data folder open.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if none listens.
pub async fn connect(data: &Path) -> io::Result<UnixStream> {
    let address = Address::of(data)?;
    UnixStream::connect(&address.path).await
}

/// Where the socket is, in a form that is short enough for the system.
struct Address {
    path: PathBuf,
    /// The data folder, if `path` leads through it.
    _folder: Option<File>,
}

impl Address {
    fn of(data: &Path) -> io::Result<Self> {
        let path = data.join(SOCKET);
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
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => {
            let what = format!("{SOCKET} in the data folder is no socket");
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
        let listener = Listener::bind(data).expect("it listens");
        let mode = fs::metadata(data.join(SOCKET))
            .expect("a socket")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let (connected, accepted) = tokio::join!(connect(data), listener.accept());
        connected.expect("connected");
        accepted.expect("accepted");
        drop(listener);
        assert!(!data.join(SOCKET).exists());
        let kind = connect(data).await.map(drop).map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn a_client_connects_to_the_socket_of_a_data_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        connects(folder.path()).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_path_longer_than_an_address_is_no_obstacle() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).expect("made");
        connects(&deep).await;
    }

    #[tokio::test]
    async fn a_socket_that_a_killed_process_left_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(SOCKET);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "it stays without its process");
        let kind = connect(folder.path()).await.map(drop);
        let kind = kind.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::ConnectionRefused));
        connects(folder.path()).await;
        fs::write(&path, "a diary").expect("written");
        assert!(Listener::bind(folder.path()).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "a diary");
    }
}
