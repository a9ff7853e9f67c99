//! The first message of a handshake: a process describes itself to another process of the cluster.
//!
//! ```text
//! magic (8) │ protocol (2) │ version length (1), version │ build (8)
//!   │ process (4) │ processes (4) │ threads (4) │ views (4) │ nonce (32)
//! ```
//!
//! The length of each field is in bytes.
//!
//! Numbers are big-endian. The fields up to the protocol version never change, so that any two
//! versions can report that they differ.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use ring::digest;
use skytide_core::view::ViewId;

/// The first bytes that every process of Skytide sends.
const MAGIC: &[u8; 8] = b"SKYTIDE\n";

/// Version of the rest of this message and of all messages that follow it.
const PROTOCOL: u16 = 2;

/// Random bytes, new for every connection.
pub const NONCE_BYTES: usize = 32;

/// What a process reports about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of its protocol.
    pub protocol: u16,
    /// Version of the program.
    pub version: String,
    /// Hash of the binary: [`own_build`].
    pub build: u64,
    /// Number of the process, from 0.
    pub process: u32,
    /// Number of processes in the cluster.
    pub processes: u32,
    /// Number of worker threads of each process.
    pub threads: u32,
    /// The views that it would compute as the leader: bit `n` stands for the view with number `n`.
    pub views: u32,
    /// Random bytes that the proof of the other process must cover.
    pub nonce: [u8; NONCE_BYTES],
}

/// The first 8 bytes of the SHA-256 of the running binary.
///
/// All processes must run the same build. Keys are assigned to workers by a hash that another
/// build, or a build for another machine, may compute differently; two builds of one version could
/// then count a key twice. The messages of the dataflow have no format that is stable across
/// builds, either.
///
/// # Errors
///
/// The binary cannot be read.
pub fn own_build() -> io::Result<u64> {
    static BUILD: OnceLock<u64> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(*build);
    }
    // The path of the binary may name a newer one after an upgrade.
    let file = match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe()?,
    };
    let mut hash = HashWriter(digest::Context::new(&digest::SHA256));
    io::copy(&mut File::open(file)?, &mut hash)?;
    let hash = hash.0.finish();
    let (first, _) = hash.as_ref().split_first_chunk().expect("32 bytes");
    Ok(*BUILD.get_or_init(|| u64::from_be_bytes(*first)))
}

struct HashWriter(digest::Context);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hello {
    /// The hello of a process of this version. `build` is its [`own_build`]. The nonce is zero.
    pub fn new(build: u64, process: u32, processes: u32, threads: u32) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build,
            process,
            processes,
            threads,
            views: 0,
            nonce: [0; NONCE_BYTES],
        }
    }

    /// The same hello of a process that computes these views.
    #[must_use]
    pub fn with_views(self, views: &[ViewId]) -> Self {
        let bits = views.iter().map(|view| 1 << *view as u8);
        Self {
            views: bits.fold(0, |all, bit| all | bit),
            ..self
        }
    }

    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.protocol.to_be_bytes());
        bytes.push(self.version.len() as u8);
        bytes.extend(self.version.as_bytes());
        bytes.extend(self.build.to_be_bytes());
        for number in [self.process, self.processes, self.threads, self.views] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.nonce);
        bytes
    }

    /// Decodes the message. For another protocol version, only `protocol` is set. Returns `None` if
    /// the sender is not a process of Skytide.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut take = |count: usize| {
            let (taken, remaining) = rest.split_at_checked(count)?;
            rest = remaining;
            Some(taken)
        };
        let protocol = u16::from_be_bytes(take(2)?.try_into().ok()?);
        if protocol != PROTOCOL {
            let unknown = Self::new(0, 0, 0, 0);
            return Some(Self {
                protocol,
                ..unknown
            });
        }
        let length = usize::from(*take(1)?.first()?);
        let version = String::from_utf8(take(length)?.to_vec()).ok()?;
        let build = u64::from_be_bytes(take(8)?.try_into().ok()?);
        let mut number = || Some(u32::from_be_bytes(take(4)?.try_into().ok()?));
        let (process, processes) = (number()?, number()?);
        let (threads, views) = (number()?, number()?);
        let nonce = take(NONCE_BYTES)?.try_into().ok()?;
        let is_complete = rest.is_empty();
        is_complete.then_some(Self {
            protocol,
            version,
            build,
            process,
            processes,
            threads,
            views,
            nonce,
        })
    }

    /// Why this process cannot run a dataflow together with another one; `None` if it can.
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self.protocol != other.protocol {
            return Some(format!(
                "it uses protocol {} of Skytide, this process {}: run the same version on all",
                other.protocol, self.protocol
            ));
        }
        if self.version != other.version {
            return Some(format!(
                "it is Skytide {:?}, this process {:?}: run the same version on all",
                other.version, self.version
            ));
        }
        if self.build != other.build {
            return Some(format!(
                "it is build {:016x} of Skytide {}, this process {:016x}: run the same binary on all",
                other.build, other.version, self.build
            ));
        }
        if self.processes != other.processes {
            return Some(format!(
                "it knows {} processes, this process {}: set the same INDEXER_HOSTS for all",
                other.processes, self.processes
            ));
        }
        if self.threads != other.threads {
            return Some(format!(
                "it counts with {} threads, this process with {}: set the same INDEXER_WORKERS for all",
                other.threads, self.threads
            ));
        }
        if let Some(difference) = view_difference(self.views, other.views) {
            return Some(format!("{difference}: set the same INDEXER_VIEWS for all"));
        }
        None
    }
}

/// How the views of another process differ from the views of this one.
fn view_difference(own: u32, other: u32) -> Option<String> {
    let names = |bits: u32| {
        let views = ViewId::ALL
            .iter()
            .filter(|view| bits >> **view as u8 & 1 == 1);
        let names: Vec<_> = views.map(|view| view.name()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    match (names(other & !own), names(own & !other)) {
        (None, None) => None,
        (Some(more), None) => Some(format!("it also computes {more}")),
        (None, Some(less)) => Some(format!("it does not compute {less}")),
        (Some(more), Some(less)) => Some(format!("it computes {more} instead of {less}")),
    }
}

// A bit for each view.
const _: () = {
    let mut index = 0;
    while index < ViewId::ALL.len() {
        assert!((ViewId::ALL[index] as u8) < u32::BITS as u8);
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        let nonce = [7; NONCE_BYTES];
        Hello {
            nonce,
            ..Hello::new(5, 1, 3, 2).with_views(&[ViewId::Posts, ViewId::Links])
        }
    }

    #[test]
    fn a_hello_is_decoded_as_it_was_encoded_and_nothing_else_is_a_hello() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Some(hello()));
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(Hello::decode(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn another_protocol_version_is_decoded_without_the_rest() {
        let mut bytes = hello().encode();
        bytes[9] = PROTOCOL as u8 + 1;
        bytes.truncate(10);
        let other = Hello::decode(&bytes).expect("a hello with its protocol");
        let why = hello().differs_from(&other).expect("it differs");
        assert!(why.starts_with("it uses protocol 3"), "{why}");
    }

    #[test]
    fn a_difference_is_reported_by_name() {
        let cases: [(fn(&mut Hello), &str); 6] = [
            (|it| it.version = "9.9.9".into(), "it is Skytide \"9.9.9\""),
            (|it| it.build = 6, "it is build 0000000000000006 of Skytide"),
            (
                |it| it.processes = 4,
                "it knows 4 processes, this process 3",
            ),
            (
                |it| it.threads = 8,
                "it counts with 8 threads, this process with 2",
            ),
            (
                |it| it.views = 1 << ViewId::Posts as u8,
                "it does not compute links: set the same INDEXER_VIEWS for all",
            ),
            (
                |it| it.views = 1 << ViewId::Actors as u8,
                "it computes actors instead of posts, links",
            ),
        ];
        for (change, expected) in cases {
            let mut other = hello();
            change(&mut other);
            let why = hello().differs_from(&other).expect("it differs");
            assert!(why.starts_with(expected), "{why}");
        }
        let other = Hello::new(5, 0, 3, 2).with_views(&[ViewId::Links, ViewId::Posts]);
        assert_eq!(hello().differs_from(&other), None);
    }

    #[test]
    fn the_build_is_the_hash_of_the_running_binary() {
        let binary = std::env::current_exe().and_then(std::fs::read);
        let hash = digest::digest(&digest::SHA256, &binary.expect("the binary"));
        let first = own_build().expect("the hash").to_be_bytes();
        assert_eq!(hash.as_ref()[..8], first);
    }
}
