//! What a process says of itself to another one of the cluster, before anything else.
//!
//! ```text
//! magic (8) │ protocol (2) │ version length (1), version │ build (8) │ process (4) │ processes (4) │ threads (4) │ nonce (32)
//! ```
//!
//! Numbers are big-endian. Up to the protocol's number it never changes, so that any two versions can tell each other what
//! differs.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use ring::digest;

/// What every process of ours begins with.
const MAGIC: &[u8; 8] = b"SKYTIDE\n";

/// The form of what follows, and of what the processes tell each other later.
const PROTOCOL: u16 = 1;

/// Bytes that are new with every connection.
pub const NONCE_BYTES: usize = 32;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its protocol.
    pub protocol: u16,
    /// Its version.
    pub version: String,
    /// Which binary it is: [`own_build`].
    pub build: u64,
    /// Its number.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// How many threads each has.
    pub threads: u32,
    /// What the other one's proof must be about.
    pub nonce: [u8; NONCE_BYTES],
}

/// The first 8 bytes of the SHA-256 of the running binary.
///
/// Keys go to workers by hashes that another build, or one for another machine, need not share, and the dataflow's messages
/// have no form that outlives a build: two builds of one version could count one key twice.
///
/// # Errors
/// The binary cannot be read.
pub fn own_build() -> io::Result<u64> {
    static BUILD: OnceLock<u64> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(*build);
    }
    // Under its own name there may be another one meanwhile.
    let file = match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe()?,
    };
    let mut hash = Hashing(digest::Context::new(&digest::SHA256));
    io::copy(&mut File::open(file)?, &mut hash)?;
    let hash = hash.0.finish();
    let (first, _) = hash.as_ref().split_first_chunk().expect("32 bytes");
    Ok(*BUILD.get_or_init(|| u64::from_be_bytes(*first)))
}

struct Hashing(digest::Context);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hello {
    /// Of a process of this version and [`own_build`].
    pub fn new(build: u64, (process, processes): (u32, u32), threads: u32) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build,
            process,
            processes,
            threads,
            nonce: [0; NONCE_BYTES],
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.protocol.to_be_bytes());
        bytes.push(self.version.len() as u8);
        bytes.extend(self.version.as_bytes());
        bytes.extend(self.build.to_be_bytes());
        for number in [self.process, self.processes, self.threads] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.nonce);
        bytes
    }

    /// Reads it; of another protocol no more than that; `None`: who sent it is no process of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut take = |count: usize| {
            let (taken, behind) = rest.split_at_checked(count)?;
            rest = behind;
            Some(taken)
        };
        let protocol = u16::from_be_bytes(take(2)?.try_into().ok()?);
        if protocol != PROTOCOL {
            let unknown = Self::new(0, (0, 0), 0);
            return Some(Self {
                protocol,
                ..unknown
            });
        }
        let length = usize::from(*take(1)?.first()?);
        let version = String::from_utf8(take(length)?.to_vec()).ok()?;
        let build = u64::from_be_bytes(take(8)?.try_into().ok()?);
        let mut number = || Some(u32::from_be_bytes(take(4)?.try_into().ok()?));
        let (process, processes, threads) = (number()?, number()?, number()?);
        let nonce = take(NONCE_BYTES)?.try_into().ok()?;
        let whole = rest.is_empty();
        whole.then_some(Self {
            protocol,
            version,
            build,
            process,
            processes,
            threads,
            nonce,
        })
    }

    /// What makes it impossible that this process counts with another one.
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self.protocol != other.protocol {
            return Some(format!(
                "it speaks protocol {} of Skytide, this process {}: all must be of one version",
                other.protocol, self.protocol
            ));
        }
        if self.version != other.version {
            return Some(format!(
                "it is Skytide {:?}, this process {:?}: all must be of one version",
                other.version, self.version
            ));
        }
        if self.build != other.build {
            return Some(format!(
                "it is build {:016x} of Skytide {}, this process {:016x}: all must run the same binary",
                other.build, other.version, self.build
            ));
        }
        if self.processes != other.processes {
            return Some(format!(
                "it knows {} processes, this one {}: INDEXER_HOSTS must be the same for all",
                other.processes, self.processes
            ));
        }
        if self.threads != other.threads {
            return Some(format!(
                "it counts with {} threads, this process with {}: INDEXER_WORKERS must be set to the same number for all",
                other.threads, self.threads
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        let nonce = [7; NONCE_BYTES];
        Hello {
            nonce,
            ..Hello::new(5, (1, 3), 2)
        }
    }

    #[test]
    fn it_comes_back_as_it_was_said_and_nothing_else_is_one() {
        let bytes = hello().encode();
        assert_eq!(Hello::decode(&bytes), Some(hello()));
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(Hello::decode(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn of_another_protocol_nothing_else_is_read() {
        let mut bytes = hello().encode();
        bytes[9] = 2;
        bytes.truncate(10);
        let other = Hello::decode(&bytes).expect("its protocol");
        let told = hello().differs_from(&other).expect("it differs");
        assert!(told.starts_with("it speaks protocol 2"), "{told}");
    }

    #[test]
    fn what_differs_is_named() {
        let cases: [(fn(&mut Hello), &str); 4] = [
            (|it| it.version = "9.9.9".into(), "it is Skytide \"9.9.9\""),
            (|it| it.build = 6, "it is build 0000000000000006 of Skytide"),
            (|it| it.processes = 4, "it knows 4 processes, this one 3"),
            (
                |it| it.threads = 8,
                "it counts with 8 threads, this process with 2",
            ),
        ];
        for (change, expected) in cases {
            let mut other = hello();
            change(&mut other);
            let told = hello().differs_from(&other).expect("it differs");
            assert!(told.starts_with(expected), "{told}");
        }
        let other = Hello::new(5, (0, 3), 2);
        assert_eq!(hello().differs_from(&other), None);
    }

    #[test]
    fn the_own_build_is_the_running_binary() {
        let binary = std::env::current_exe().and_then(std::fs::read);
        let hash = digest::digest(&digest::SHA256, &binary.expect("it is there"));
        let first = own_build().expect("it is readable").to_be_bytes();
        assert_eq!(hash.as_ref()[..8], first);
    }
}
