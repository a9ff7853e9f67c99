//! Truncates messages over the size limit while they are received.
//!
//! ```text
//! TCP or TLS ─▶ MessageLimit ─▶ WebSocket library
//!               reads each frame header; passes at most limit + 1 payload bytes of a message,
//!               writes the shorter length into the header, drops the remaining bytes
//! ```
//!
//! A WebSocket library closes the connection at a message over its limit. A relay sends the same
//! message again after each reconnect, and its `seq` is unknown, so it cannot be skipped by a
//! cursor. With this layer the connection stays open: the library receives a message of limit + 1
//! bytes, which is recognized as too large by its length. Memory is bounded by the limit for any
//! length in the header. A message over [`MESSAGE_BYTES_SKIPPED_MAX`] ends the connection.
//!
//! Frame format: RFC 6455, section 5.2. The library receives a length in a longer form than needed
//! only where a frame was shortened; `tungstenite` accepts it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest message that is skipped. Receiving a larger one would take longer than changing to
/// another relay.
pub(super) const MESSAGE_BYTES_SKIPPED_MAX: u64 = 1 << 30;
/// The size of the longest header: two bytes, a length of 8 bytes, a mask of 4 bytes.
const HEADER_BYTES_MAX: usize = 14;
const END_OF_RESPONSE: &[u8] = b"\r\n\r\n";

/// A byte stream that carries a WebSocket's handshake response and then its frames.
#[derive(Debug)]
pub(super) struct MessageLimit<S> {
    stream: S,
    frames: Truncation,
    /// The start of a header whose remaining bytes have not been received yet.
    partial: [u8; HEADER_BYTES_MAX],
    partial_len: usize,
}

impl<S> MessageLimit<S> {
    /// Wraps a stream from which nothing was received yet. Messages are truncated to
    /// `message_bytes_max + 1` bytes.
    pub(super) fn new(stream: S, message_bytes_max: usize) -> Self {
        Self {
            stream,
            frames: Truncation::new(message_bytes_max as u64),
            partial: [0; HEADER_BYTES_MAX],
            partial_len: 0,
        }
    }

    /// Payload bytes of messages received so far, including dropped ones. The number grows while a
    /// large message is received.
    pub(super) fn message_bytes(&self) -> u64 {
        self.frames.received
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MessageLimit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // The library offers room for a header before each frame, and for the rest of a payload
        // within one; then no partial header is stored.
        if buffer.remaining() <= this.partial_len {
            let why = "the buffer is smaller than a frame header";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let start = buffer.filled().len();
        loop {
            // The previous call passed all bytes before the message.
            if let State::TooLarge(bytes) = this.frames.state {
                let error = io::Error::new(io::ErrorKind::InvalidData, MessageTooLarge(bytes));
                return Poll::Ready(Err(error));
            }
            buffer.put_slice(&this.partial[..this.partial_len]);
            let before = buffer.filled().len();
            let read = Pin::new(&mut this.stream).poll_read(context, buffer);
            if !matches!(read, Poll::Ready(Ok(()))) {
                buffer.set_filled(start);
            }
            ready!(read)?;
            if buffer.filled().len() == before {
                // The stream ended: an incomplete header is passed unchanged.
                this.partial_len = 0;
                return Poll::Ready(Ok(()));
            }
            let bytes = &mut buffer.filled_mut()[start..];
            let (passed, rest) = this.frames.apply(bytes);
            this.partial_len = bytes.len() - rest;
            this.partial[..this.partial_len].copy_from_slice(&bytes[rest..]);
            buffer.set_filled(start + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MessageLimit<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The frames of a connection, shortened in place.
#[derive(Debug)]
struct Truncation {
    message_bytes_max: u64,
    state: State,
    /// Payload bytes of the current message, as announced by its frame headers.
    message: u64,
    received: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the handshake response; the last `matched` bytes are the start of its end marker.
    Response { matched: usize },
    /// After the header of a message that is too large even to be skipped. Holds its size in bytes.
    TooLarge(u64),
    /// Before a header.
    Header,
    /// In a payload: `pass` more bytes pass, the `drop` bytes after them are dropped.
    Payload { pass: u64, drop: u64, is_data: bool },
}

impl Truncation {
    fn new(message_bytes_max: u64) -> Self {
        Self {
            message_bytes_max,
            state: State::Response { matched: 0 },
            message: 0,
            received: 0,
        }
    }

    /// Moves the bytes that pass to the front. Returns their number, and the index at which an
    /// incomplete header starts.
    fn apply(&mut self, bytes: &mut [u8]) -> (usize, usize) {
        let (mut read, mut write) = (0, 0);
        while read < bytes.len() {
            let pass = match self.state {
                State::Response { matched } => {
                    self.state = response(matched, bytes[read]);
                    1
                }
                State::Header => {
                    let Some(header) = Header::parse(&bytes[read..]) else {
                        break;
                    };
                    self.begin(&header, &mut bytes[read..]);
                    match self.state {
                        State::TooLarge(_) => continue,
                        _ => header.bytes,
                    }
                }
                State::TooLarge(_) => return (write, bytes.len()),
                State::Payload {
                    pass,
                    drop,
                    is_data,
                } => {
                    let left = (bytes.len() - read) as u64;
                    let passed = left.min(pass);
                    let dropped = (left - passed).min(drop);
                    self.received += if is_data { passed + dropped } else { 0 };
                    let (pass, drop) = (pass - passed, drop - dropped);
                    self.state = if pass + drop == 0 {
                        State::Header
                    } else {
                        State::Payload {
                            pass,
                            drop,
                            is_data,
                        }
                    };
                    shift(bytes, read, write, passed as usize);
                    write += passed as usize;
                    read += (passed + dropped) as usize;
                    continue;
                }
            };
            shift(bytes, read, write, pass);
            read += pass;
            write += pass;
        }
        (write, read)
    }

    /// Starts a frame; writes its new length into the header where it is shortened.
    fn begin(&mut self, header: &Header, bytes: &mut [u8]) {
        if header.is_control() {
            self.state = State::Payload {
                pass: header.length,
                drop: 0,
                is_data: false,
            };
            return;
        }
        if !header.is_continuation() {
            self.message = 0;
        }
        let room = (self.message_bytes_max + 1).saturating_sub(self.message);
        self.message = self.message.saturating_add(header.length);
        if self.message > MESSAGE_BYTES_SKIPPED_MAX {
            self.state = State::TooLarge(self.message);
            return;
        }
        let pass = header.length.min(room);
        if pass < header.length {
            header.set_length(bytes, pass);
        }
        if header.is_text() && (pass < header.length || !header.is_final) {
            // The library rejects text that is truncated within a character, so the message becomes
            // binary.
            bytes[0] += 1;
        }
        self.state = State::Payload {
            pass,
            drop: header.length - pass,
            is_data: true,
        };
    }
}

/// Moves bytes forward to where dropped bytes were.
fn shift(bytes: &mut [u8], from: usize, to: usize, length: usize) {
    if from != to {
        bytes.copy_within(from..from + length, to);
    }
}

/// The state after the next byte of the response.
fn response(matched: usize, byte: u8) -> State {
    let matched = if byte == END_OF_RESPONSE[matched] {
        matched + 1
    } else {
        usize::from(byte == END_OF_RESPONSE[0])
    };
    if matched == END_OF_RESPONSE.len() {
        return State::Header;
    }
    State::Response { matched }
}

/// The announced length of a message for which the connection was closed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the relay announces a message of {0} bytes, \
     more than the {MESSAGE_BYTES_SKIPPED_MAX} that can be skipped"
)]
pub(super) struct MessageTooLarge(u64);

/// The header of a frame.
struct Header {
    opcode: u8,
    is_final: bool,
    length: u64,
    /// Bytes of the length after the first two bytes: 0, 2 or 8.
    length_bytes: usize,
    /// Bytes of the whole header.
    bytes: usize,
}

impl Header {
    /// Parses a header. Returns `None` if more bytes are needed.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let header_bytes = 2 + length_bytes + mask_bytes;
        let header = bytes.get(..header_bytes)?;
        let long = &header[2..2 + length_bytes];
        let length = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => long
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        Some(Self {
            opcode: first & 0x0f,
            is_final: first & 0x80 != 0,
            length,
            length_bytes,
            bytes: header_bytes,
        })
    }

    fn is_control(&self) -> bool {
        self.opcode >= 8
    }

    fn is_continuation(&self) -> bool {
        self.opcode == 0
    }

    fn is_text(&self) -> bool {
        self.opcode == 1
    }

    /// Replaces the length by a smaller one, in the same form.
    fn set_length(&self, bytes: &mut [u8], length: u64) {
        let big_endian = length.to_be_bytes();
        match self.length_bytes {
            0 => bytes[1] = bytes[1] & 0x80 | big_endian[7],
            long => bytes[2..2 + long].copy_from_slice(&big_endian[8 - long..]),
        }
    }
}

#[cfg(test)]
mod tests;
