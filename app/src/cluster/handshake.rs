//! The handshake: two processes compare their settings and prove to each other that they know the
//! secret of the cluster. The caller is the process that connected, the answerer the other one.
//!
//! ```text
//! caller                                   answerer
//! hello ──────────────────────────────────▶
//!       ◀────────────────────────────────── hello         both compare and report what differs
//! proof of the secret over both hellos ───▶
//!       ◀────────────────────────────────── its own proof, or the reason of a refusal
//! accepted ───────────────────────────────▶
//! ```
//!
//! A proof is an HMAC-SHA256 over the side that proves and both hellos. Each hello has a new nonce,
//! so neither an old proof nor the proof of the other side can be replayed. Without a secret the
//! key is empty. A frame is its length (2 bytes) and at most [`FRAME_BYTES_MAX`] bytes, and the
//! whole handshake has a time limit, so a caller outside the cluster costs only a bounded amount of
//! memory and time.

use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hello::{Hello, NONCE_BYTES};

/// Maximum size of a frame, in bytes.
const FRAME_BYTES_MAX: usize = 512;

/// How long a handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// The first byte of the answer to a proof.
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The other side is not a process of Skytide, or it disconnected. Another caller may succeed.
    #[error("{0}")]
    Stranger(String),
    /// The other side is a process of Skytide, but the two are not compatible. A person must change
    /// an option.
    #[error("{0}")]
    Incompatible(String),
}

/// What this process sends and checks in every handshake.
#[derive(Clone, Debug)]
pub struct HandshakeOptions {
    hello: Hello,
    key: hmac::Key,
    random: SystemRandom,
}

/// The side of a connection, as part of a proof.
#[derive(Clone, Copy)]
enum Side {
    Caller,
    Answerer,
}

impl HandshakeOptions {
    /// `hello` describes this process. An empty `secret` means that the cluster has none.
    pub fn new(hello: Hello, secret: &[u8]) -> Self {
        Self {
            hello,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            random: SystemRandom::new(),
        }
    }

    /// The number of this process.
    pub fn process(&self) -> u32 {
        self.hello.process
    }

    /// The hello of this process with a new nonce.
    fn new_hello(&self) -> Result<Hello, Refusal> {
        let mut nonce = [0; NONCE_BYTES];
        let filled = self.random.fill(&mut nonce);
        filled.map_err(|_| stranger("the system provides no random bytes"))?;
        let hello = self.hello.clone();
        Ok(Hello { nonce, ..hello })
    }

    /// Runs the handshake as the caller. The other side must be process number `process`.
    ///
    /// # Errors
    ///
    /// The other side is another process or not compatible, or the connection failed.
    pub async fn call(&self, stream: &mut TcpStream, process: u32) -> Result<(), Refusal> {
        with_time_limit(async {
            let hello = self.new_hello()?.encode();
            write(stream, &hello).await?;
            let other = self.check_hello(&read(stream).await?)?;
            if other.process != process {
                return Err(Refusal::Incompatible(format!(
                    "process {} answered at this address: set the same INDEXER_HOSTS for all processes, \
                     and INDEXER_PROCESS to the position of each in it",
                    other.process
                )));
            }
            let hellos = [hello, other.encode()];
            write(stream, self.proof(Side::Caller, &hellos).as_ref()).await?;
            let answer = read(stream).await?;
            match answer.split_first() {
                Some((&ACCEPTED, proof)) => self.verify(Side::Answerer, &hellos, proof)?,
                Some((&REFUSED, why)) => {
                    // The other side has proved nothing, so its text must not control a terminal.
                    let why = String::from_utf8_lossy(why);
                    return Err(Refusal::Incompatible(why.replace(char::is_control, " ")));
                }
                _ => return Err(stranger("its answer is not one of a process of Skytide")),
            }
            write(stream, &[ACCEPTED]).await
        })
        .await
    }

    /// Runs the handshake as the answerer. Returns the number of the process that called.
    ///
    /// # Errors
    ///
    /// The caller is not a process of this cluster or not compatible, or the connection failed.
    pub async fn answer(&self, stream: &mut TcpStream) -> Result<u32, Refusal> {
        with_time_limit(async {
            let (hello, received) = (self.new_hello()?.encode(), read(stream).await?);
            if Hello::decode(&received).is_some() {
                // With this hello, the caller can report a difference, too.
                write(stream, &hello).await?;
            }
            let other = self.check_hello(&received)?;
            let hellos = [other.encode(), hello];
            let proof = read(stream).await?;
            let verified = self.verify(Side::Caller, &hellos, &proof);
            if let Err(refusal) = verified.and_then(|()| self.check_number(&other)) {
                let text = format!("process {} says: {refusal}", self.hello.process);
                write(stream, &[&[REFUSED], text.as_bytes()].concat()).await?;
                return Err(refusal);
            }
            let own = self.proof(Side::Answerer, &hellos);
            write(stream, &[&[ACCEPTED], own.as_ref()].concat()).await?;
            match read(stream).await?.as_slice() {
                [ACCEPTED] => Ok(other.process),
                _ => Err(stranger("it did not accept")),
            }
        })
        .await
    }

    /// Decodes the hello of the other side and checks that the two are compatible.
    fn check_hello(&self, received: &[u8]) -> Result<Hello, Refusal> {
        let other = Hello::decode(received);
        let other = other.ok_or_else(|| stranger("it is not a process of Skytide"))?;
        match self.hello.differs_from(&other) {
            None => Ok(other),
            Some(why) => Err(Refusal::Incompatible(why)),
        }
    }

    /// Checks that the caller has a higher number than this process, because each process calls
    /// only those with a lower number.
    fn check_number(&self, other: &Hello) -> Result<(), Refusal> {
        let (process, own) = (other.process, self.hello.process);
        if (own + 1..self.hello.processes).contains(&process) {
            return Ok(());
        }
        Err(Refusal::Incompatible(format!(
            "process {process} must not call process {own}: set INDEXER_PROCESS of each process to its \
             position in INDEXER_HOSTS"
        )))
    }

    fn proof(&self, side: Side, hellos: &[Vec<u8>; 2]) -> hmac::Tag {
        hmac::sign(&self.key, &signed_bytes(side, hellos))
    }

    /// Verifies a proof of the other side, in constant time.
    fn verify(&self, side: Side, hellos: &[Vec<u8>; 2], proof: &[u8]) -> Result<(), Refusal> {
        let verified = hmac::verify(&self.key, &signed_bytes(side, hellos), proof);
        verified.map_err(|_| {
            Refusal::Incompatible(
                "the secrets differ: INDEXER_SECRET_FILE must hold the same for all".into(),
            )
        })
    }
}

/// What a proof signs: the side that proves, and the hellos of caller and answerer.
fn signed_bytes(side: Side, hellos: &[Vec<u8>; 2]) -> Vec<u8> {
    let side: &[u8] = match side {
        Side::Caller => b"calls",
        Side::Answerer => b"answers",
    };
    // The hello of the caller contains its own length, so the bytes can be split in one way only.
    [side, &hellos[0], &hellos[1]].concat()
}

fn stranger(why: impl ToString) -> Refusal {
    Refusal::Stranger(why.to_string())
}

async fn with_time_limit<T>(
    handshake: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let late = || {
        stranger(format!(
            "the handshake took longer than {} s",
            HANDSHAKE_MAX.as_secs()
        ))
    };
    timeout(HANDSHAKE_MAX, handshake)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Refusal> {
    let length = u16::try_from(bytes.len()).map_err(stranger)?;
    let frame = [&length.to_be_bytes(), bytes].concat();
    stream.write_all(&frame).await.map_err(stranger)
}

async fn read(stream: &mut TcpStream) -> Result<Vec<u8>, Refusal> {
    let length = usize::from(stream.read_u16().await.map_err(stranger)?);
    if length > FRAME_BYTES_MAX {
        return Err(stranger("it is not a process of Skytide"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(stranger)?;
    Ok(bytes)
}
