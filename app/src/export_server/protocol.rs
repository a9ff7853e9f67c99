//! Messages between the process that has a store open and a process that requests an export, a run
//! of a job, or the states of the jobs.
//!
//! ```text
//! kind u8 │ size of the payload in bytes u32, big-endian │ payload
//! ```

use std::io;

use serde::{Deserialize, Serialize};
use skytide_core::port::job::{JobState, RunEnd, RunRefusal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::export::ExportReport;

/// Version of the messages.
pub const VERSION: u32 = 1;
/// Maximum size of a payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// A request for an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The [`VERSION`] of the process that requests the export.
    pub version: u32,
    /// CSV instead of NDJSON.
    pub csv: bool,
}

/// A request for a run of a job, or for the states of all jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The [`VERSION`] of the process that sends the request.
    pub version: u32,
    /// The job to run; `None` requests the states.
    pub run: Option<String>,
}

/// The answer to a [`JobRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobAnswer {
    /// The requested run has ended, or was not started.
    Run(Result<RunEnd, RunRefusal>),
    /// The states of all jobs, by name.
    States(Vec<JobState>),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message, sent by the process that requests the export.
    Request(Request),
    /// The first message, sent by the process that requests a run or the states of the jobs.
    JobRequest(JobRequest),
    /// The answer to a [`Message::JobRequest`]. The last message.
    JobAnswer(JobAnswer),
    /// Starts a file. The previous file is complete.
    File(String),
    /// The next bytes of the current file.
    Data(Vec<u8>),
    /// The export is complete. The last message.
    Complete(ExportReport),
    /// The request failed, with the reason. The last message.
    Failed(String),
}

impl Message {
    /// The kind of the message, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "a request",
            Self::JobRequest(_) => "a request for a job",
            Self::JobAnswer(_) => "the answer to a request for a job",
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
///
/// The other process has disconnected, or the message is too large.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let (kind, payload) = match message {
        Message::Request(request) => (b'R', serde_json::to_vec(request)?),
        Message::JobRequest(request) => (b'J', serde_json::to_vec(request)?),
        Message::JobAnswer(answer) => (b'A', serde_json::to_vec(answer)?),
        Message::File(name) => (b'F', name.clone().into_bytes()),
        Message::Data(bytes) => (b'D', bytes.clone()),
        Message::Complete(report) => (b'C', serde_json::to_vec(report)?),
        Message::Failed(why) => {
            let end = why.floor_char_boundary(PAYLOAD_BYTES_MAX);
            (b'X', why.as_bytes()[..end].to_vec())
        }
    };
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(io::Error::other("a message is too large"));
    }
    let mut bytes = vec![kind];
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes).await
}

/// Receives a message.
///
/// # Errors
///
/// `UnexpectedEof` if the other process has disconnected, `InvalidData` if it sent anything else.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let kind = stream.read_u8().await?;
    let bytes = stream.read_u32().await? as usize;
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(invalid("a message is too large"));
    }
    let mut payload = vec![0; bytes];
    stream.read_exact(&mut payload).await?;
    let text = |payload| String::from_utf8(payload).map_err(|_| invalid("a message is not UTF-8"));
    Ok(match kind {
        b'R' => Message::Request(serde_json::from_slice(&payload)?),
        b'J' => Message::JobRequest(serde_json::from_slice(&payload)?),
        b'A' => Message::JobAnswer(serde_json::from_slice(&payload)?),
        b'F' => Message::File(text(payload)?),
        b'D' => Message::Data(payload),
        b'C' => Message::Complete(serde_json::from_slice(&payload)?),
        b'X' => Message::Failed(text(payload)?),
        _ => return Err(invalid("a message has an unknown kind")),
    })
}
