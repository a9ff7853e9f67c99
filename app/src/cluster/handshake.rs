//! How two processes make sure of each other before they count together.
//!
//! ```text
//! calls                                    answers
//! hello ──────────────────────────────────▶
//!       ◀────────────────────────────────── hello         both compare: what differs is named
//! proof of the secret over both hellos ───▶
//!       ◀────────────────────────────────── its own proof, or why not
//! agreed ─────────────────────────────────▶
//! ```
//!
//! A proof is an HMAC-SHA256 over who proves it and both hellos, whose nonces are new each time: neither an old one nor the
//! other side's own can be used again. Without a secret the key is empty. Every frame is a length (2 bytes) and at most
//! [`FRAME_BYTES_MAX`] bytes, and all of it has a time limit: what comes from strangers costs no more than that.

use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hello::{Hello, NONCE_BYTES};

/// Bytes of a frame, at most.
const FRAME_BYTES_MAX: usize = 512;

/// How long the other side may take for all of it.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// What the first byte of the answer to a proof says.
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

/// Why no connection came of it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The other one is no process that could be of this cluster, or went away: another one may come.
    #[error("{0}")]
    Stranger(String),
    /// It is of Skytide, but they cannot count together: somebody must change an option.
    #[error("{0}")]
    Unfit(String),
}

/// What a process knows when it meets another one.
#[derive(Clone, Debug)]
pub struct Manners {
    hello: Hello,
    key: hmac::Key,
    random: SystemRandom,
}

/// Which side of a connection a process is on, as part of what it proves.
#[derive(Clone, Copy)]
enum Side {
    Calls,
    Answers,
}

impl Manners {
    /// Of a process that says this of itself, with a secret; an empty one is none.
    pub fn new(hello: Hello, secret: &[u8]) -> Self {
        Self {
            hello,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            random: SystemRandom::new(),
        }
    }

    /// The number of the process.
    pub fn process(&self) -> u32 {
        self.hello.process
    }

    /// What it says of itself this time.
    fn hello(&self) -> Result<Hello, Refusal> {
        let mut nonce = [0; NONCE_BYTES];
        let drawn = self.random.fill(&mut nonce);
        drawn.map_err(|_| stranger("the system gives no random bytes"))?;
        let hello = self.hello.clone();
        Ok(Hello { nonce, ..hello })
    }

    /// Calls a process of that number.
    ///
    /// # Errors
    /// It is not there, or not that one, or the two do not fit together.
    pub async fn call(&self, stream: &mut TcpStream, process: u32) -> Result<(), Refusal> {
        in_time(async {
            let hello = self.hello()?.encode();
            write(stream, &hello).await?;
            let other = self.meet(&read(stream).await?)?;
            if other.process != process {
                return Err(Refusal::Unfit(format!(
                    "there answers process {}: INDEXER_HOSTS must be the same for all, INDEXER_PROCESS each one's place in it",
                    other.process
                )));
            }
            let said = [hello, other.encode()];
            write(stream, self.proof(Side::Calls, &said).as_ref()).await?;
            let answer = read(stream).await?;
            match answer.split_first() {
                Some((&ACCEPTED, proof)) => self.verify(Side::Answers, &said, proof)?,
                Some((&REFUSED, why)) => {
                    // It has proved nothing: what it says must not move a terminal.
                    let why = String::from_utf8_lossy(why);
                    return Err(Refusal::Unfit(why.replace(char::is_control, " ")));
                }
                _ => return Err(stranger("it does not speak as a process of Skytide does")),
            }
            write(stream, &[ACCEPTED]).await
        })
        .await
    }

    /// Answers a process that called; answers which one it is.
    ///
    /// # Errors
    /// It is no process of this cluster, or the two do not fit together.
    pub async fn answer(&self, stream: &mut TcpStream) -> Result<u32, Refusal> {
        in_time(async {
            let (hello, heard) = (self.hello()?.encode(), read(stream).await?);
            if Hello::decode(&heard).is_some() {
                // So that it can say, too, what differs.
                write(stream, &hello).await?;
            }
            let other = self.meet(&heard)?;
            let said = [other.encode(), hello];
            let proof = read(stream).await?;
            let verified = self.verify(Side::Calls, &said, &proof);
            if let Err(refusal) = verified.and_then(|()| self.check_number(&other)) {
                let text = format!("process {} says: {refusal}", self.hello.process);
                write(stream, &[&[REFUSED], text.as_bytes()].concat()).await?;
                return Err(refusal);
            }
            let own = self.proof(Side::Answers, &said);
            write(stream, &[&[ACCEPTED], own.as_ref()].concat()).await?;
            match read(stream).await?.as_slice() {
                [ACCEPTED] => Ok(other.process),
                _ => Err(stranger("it does not agree")),
            }
        })
        .await
    }

    /// Takes what another process says of itself.
    fn meet(&self, heard: &[u8]) -> Result<Hello, Refusal> {
        let other = Hello::decode(heard);
        let other = other.ok_or_else(|| stranger("it is no process of Skytide"))?;
        match self.hello.differs_from(&other) {
            None => Ok(other),
            Some(what) => Err(Refusal::Unfit(what)),
        }
    }

    /// Whether it is for that process to call this one.
    fn check_number(&self, other: &Hello) -> Result<(), Refusal> {
        let (process, own) = (other.process, self.hello.process);
        if (own + 1..self.hello.processes).contains(&process) {
            return Ok(());
        }
        Err(Refusal::Unfit(format!(
            "process {process} is not to call process {own}: INDEXER_PROCESS must be the place of each in INDEXER_HOSTS"
        )))
    }

    fn proof(&self, side: Side, said: &[Vec<u8>; 2]) -> hmac::Tag {
        hmac::sign(&self.key, &claim(side, said))
    }

    /// Compares in constant time.
    fn verify(&self, side: Side, said: &[Vec<u8>; 2], proof: &[u8]) -> Result<(), Refusal> {
        let verified = hmac::verify(&self.key, &claim(side, said), proof);
        verified.map_err(|_| {
            Refusal::Unfit(
                "the secrets differ: INDEXER_SECRET_FILE must hold the same for all".into(),
            )
        })
    }
}

/// What is proved: which side speaks, and what caller and answerer said.
fn claim(side: Side, said: &[Vec<u8>; 2]) -> Vec<u8> {
    let side: &[u8] = match side {
        Side::Calls => b"calls",
        Side::Answers => b"answers",
    };
    // The caller's hello has its own length in it, so the whole can be taken apart in one way only.
    [side, &said[0], &said[1]].concat()
}

fn stranger(why: impl ToString) -> Refusal {
    Refusal::Stranger(why.to_string())
}

async fn in_time<T>(shaking: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = || {
        stranger(format!(
            "it said nothing more for {} s",
            HANDSHAKE_MAX.as_secs()
        ))
    };
    timeout(HANDSHAKE_MAX, shaking)
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
        return Err(stranger("it is no process of Skytide"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(stranger)?;
    Ok(bytes)
}
