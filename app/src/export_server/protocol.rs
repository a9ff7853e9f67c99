//! Messages between the process that has a store open and one that asks for an export.
//!
//! ```text
//! kind u8 │ bytes of the payload u32, big-endian │ payload
//! ```

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::export::Outline;

/// Version of the messages.
pub const VERSION: u32 = 1;
/// Bytes of a payload, at most.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// What is to be exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The [`VERSION`] of the process that asks.
    pub version: u32,
    /// CSV instead of NDJSON.
    pub csv: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first one, of the process that asks.
    Request(Request),
    /// A file begins; the previous one is whole.
    File(String),
    /// The next bytes of the file.
    Data(Vec<u8>),
    /// The export is whole. The last message.
    Complete(Outline),
    /// The export failed, and why. The last message.
    Failed(String),
}

impl Message {
    /// What it is, without its content.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "a request",
            Self::File(_) => "a file",
            Self::Data(_) => "data",
            Self::Complete(_) => "the end",
            Self::Failed(_) => "a failure",
        }
    }
}

/// Sends a message.
///
/// # Errors
/// The other process has gone, or the message is too long.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let (kind, payload) = match message {
        Message::Request(request) => (b'R', serde_json::to_vec(request)?),
        Message::File(name) => (b'F', name.clone().into_bytes()),
        Message::Data(bytes) => (b'D', bytes.clone()),
        Message::Complete(outline) => (b'C', serde_json::to_vec(outline)?),
        Message::Failed(why) => {
            let end = why.floor_char_boundary(PAYLOAD_BYTES_MAX);
            (b'X', why.as_bytes()[..end].to_vec())
        }
    };
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other("a message is too long"));
    }
    let mut bytes = vec![kind];
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes).await
}

/// Receives a message.
///
/// # Errors
/// `UnexpectedEof` if the other process has gone, `InvalidData` if it sends something else.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let unknown = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let kind = stream.read_u8().await?;
    let bytes = stream.read_u32().await? as usize;
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(unknown("a message is too long"));
    }
    let mut payload = vec![0; bytes];
    stream.read_exact(&mut payload).await?;
    let text = |payload| String::from_utf8(payload).map_err(|_| unknown("a message is no text"));
    Ok(match kind {
        b'R' => Message::Request(serde_json::from_slice(&payload)?),
        b'F' => Message::File(text(payload)?),
        b'D' => Message::Data(payload),
        b'C' => Message::Complete(serde_json::from_slice(&payload)?),
        b'X' => Message::Failed(text(payload)?),
        _ => return Err(unknown("a message is of an unknown kind")),
    })
}
