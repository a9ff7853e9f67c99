//! What a process says of itself to another one of the cluster, before anything else.
//!
//! ```text
//! magic (8) │ protocol (2) │ version length (1), version │ process (4) │ processes (4) │ threads (4) │ nonce (32)
//! ```
//!
//! Numbers are big-endian. Up to the protocol's number it never changes, so that any two versions can tell each other what
//! differs.

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
    /// Its number.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// How many threads each has.
    pub threads: u32,
    /// What the other one's proof must be about.
    pub nonce: [u8; NONCE_BYTES],
}

impl Hello {
    /// Of a process of this version.
    pub fn new(process: u32, processes: u32, threads: u32) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
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
            let unknown = Self::new(0, 0, 0);
            return Some(Self {
                protocol,
                ..unknown
            });
        }
        let length = usize::from(*take(1)?.first()?);
        let version = String::from_utf8(take(length)?.to_vec()).ok()?;
        let mut number = || Some(u32::from_be_bytes(take(4)?.try_into().ok()?));
        let (process, processes, threads) = (number()?, number()?, number()?);
        let nonce = take(NONCE_BYTES)?.try_into().ok()?;
        let whole = rest.is_empty();
        whole.then_some(Self {
            protocol,
            version,
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
            ..Hello::new(1, 3, 2)
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
        let cases: [(fn(&mut Hello), &str); 3] = [
            (|it| it.version = "9.9.9".into(), "it is Skytide \"9.9.9\""),
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
        let other = Hello::new(0, 3, 2);
        assert_eq!(hello().differs_from(&other), None);
    }
}
