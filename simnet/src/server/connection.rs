//! One open stream: sends frames to a client until the client disconnects, is too slow, or a fault
//! ends the stream.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::message::OVERSIZED_BYTES;
use super::relay_options::CursorPolicy;
use super::shared::Shared;
use super::window::{BufferedFrame, ReadResult, Reader, SeekResult};
use crate::faults::{Fault, FaultSequence};
use crate::{error, info};

/// Maximum number of frames in a batch.
const BATCH_FRAMES: usize = 128;
/// Maximum number of bytes in a batch. A batch of one frame may be larger.
const BATCH_BYTES: usize = 256 << 10;

/// The message for a client that is too slow.
const TOO_SLOW: &str = "the stream could not keep up";

/// The stream of one client.
pub(super) struct Connection<'a> {
    shared: &'a Shared,
    socket: WebSocketStream<TcpStream>,
    faults: FaultSequence,
    /// Whether the client has reached the end of the stream at least once.
    live: bool,
}

/// Whether the stream continues.
enum Flow {
    Continue,
    /// The client has disconnected, or nothing more is to be sent.
    End,
}

/// What ended a stream.
#[derive(Clone, Copy)]
enum EndCause {
    /// A planned fault.
    Planned(Fault),
    /// An error frame of the network.
    Error,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        socket: WebSocketStream<TcpStream>,
        faults: FaultSequence,
    ) -> Self {
        Self {
            shared,
            socket,
            faults,
            live: false,
        }
    }

    /// Serves the stream after a cursor until it ends.
    pub(super) async fn run(mut self, cursor: Option<u64>) -> Result<(), Error> {
        let reader = self.shared.window.reader();
        let mut changes = self.shared.window.subscribe();
        let start = tokio::select! {
            start = reader.seek(cursor) => start,
            closed = disconnected(&mut self.socket) => return closed,
        };
        let strict = self.shared.relay.cursors == CursorPolicy::Strict;
        match start {
            SeekResult::Outdated(_) if strict => {
                let text = "the requested cursor is older than the oldest frame";
                self.send(info("OutdatedCursor", Some(text)).into()).await?;
            }
            SeekResult::Future if strict => return self.refuse_future().await,
            SeekResult::Future => reader.seek_end(),
            SeekResult::At(_) | SeekResult::Outdated(_) => {}
        }
        while let Some(fault) = self.faults.next_due() {
            if let Flow::End = self.fire(fault).await? {
                return self.finish(EndCause::Planned(fault), reader).await;
            }
        }
        loop {
            changes.borrow_and_update();
            match reader.next(BATCH_FRAMES, BATCH_BYTES, self.lag_max()) {
                ReadResult::TooSlow => return self.too_slow().await,
                ReadResult::Frames(frames) if frames.is_empty() => {
                    self.live = true;
                    if let Flow::End = self.wait(&mut changes).await? {
                        return Ok(());
                    }
                }
                ReadResult::Frames(frames) => {
                    let write_max = self.shared.relay.write_max;
                    let sent = timeout(write_max, self.batch(&frames, &reader)).await;
                    match sent {
                        Err(_) => return self.too_slow().await,
                        Ok(sent) => {
                            if let Some(cause) = sent? {
                                return self.finish(cause, reader).await;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The maximum lag of the client in frames. While the client still reads the backlog, only the
    /// size of the window limits its lag.
    fn lag_max(&self) -> u64 {
        match self.live && self.shared.counts.caught_up.load(Ordering::Relaxed) {
            true => self.shared.relay.lag_frames_max,
            false => u64::MAX,
        }
    }

    /// Waits for a frame, and answers pings meanwhile.
    async fn wait(&mut self, changes: &mut watch::Receiver<u64>) -> Result<Flow, Error> {
        tokio::select! {
            changed = changes.changed() => Ok(match changed {
                Ok(()) => Flow::Continue,
                Err(_) => Flow::End,
            }),
            closed = disconnected(&mut self.socket) => closed.map(|()| Flow::End),
        }
    }

    /// Sends frames, and the faults planned between them. Returns what ended the stream, if
    /// anything did.
    async fn batch(
        &mut self,
        frames: &[BufferedFrame],
        reader: &Reader<'_>,
    ) -> Result<Option<EndCause>, Error> {
        let first = reader.position() - frames.len() as u64;
        let any_connection = self.shared.faults.any_connection();
        for (index, buffered) in frames.iter().enumerate() {
            let sent = first + index as u64;
            any_connection.on_frames_sent(sent);
            while buffered.is_new
                && let Some(fault) = self
                    .faults
                    .next_due()
                    .or_else(|| any_connection.next_due(sent))
            {
                if let Flow::End = self.fire(fault).await? {
                    reader.unread(frames.len() - index);
                    return Ok(Some(EndCause::Planned(fault)));
                }
            }
            let message = Message::Binary(buffered.bytes.clone());
            self.socket.feed(message).await?;
            self.faults.on_frame_sent();
            if buffered.is_error {
                self.socket.flush().await?;
                reader.end_with_error(frames.len() - index - 1);
                return Ok(Some(EndCause::Error));
            }
        }
        self.socket.flush().await?;
        // Between batches, answers pings and detects a close frame.
        while let Some(read) = self.socket.next().now_or_never() {
            match read {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Error::ConnectionClosed),
            }
        }
        Ok(None)
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.socket.send(Message::Binary(bytes)).await
    }

    /// Fires a fault. [`Self::finish`] then ends the stream, if the fault ends it.
    async fn fire(&mut self, fault: Fault) -> Result<Flow, Error> {
        let t = (fault == Fault::TypedError).then_some("#info");
        let error = |name, text| Bytes::from(error(name, Some(text), t));
        let (message, flow) = match fault {
            Fault::Garbage => (
                Message::Binary(Bytes::from_static(b"\xff\x00these are no frames")),
                Flow::Continue,
            ),
            Fault::Text => (
                Message::Text("this stream is binary".into()),
                Flow::Continue,
            ),
            Fault::Oversized => (
                Message::Binary(vec![0; OVERSIZED_BYTES].into()),
                Flow::Continue,
            ),
            Fault::FutureCursor => (
                Message::Binary(error("FutureCursor", "cursor in the future")),
                Flow::End,
            ),
            Fault::ConsumerTooSlow => (
                Message::Binary(error("ConsumerTooSlow", TOO_SLOW)),
                Flow::End,
            ),
            Fault::TypedError => (
                Message::Binary(error("InternalError", "something went wrong")),
                Flow::End,
            ),
            _ => {
                self.socket.flush().await?;
                self.shared.faults.count(fault);
                return Ok(Flow::End);
            }
        };
        // A client may disconnect because of the message. That is the purpose of the fault.
        self.shared.faults.count(fault);
        self.socket.send(message).await?;
        Ok(flow)
    }

    /// Ends the stream as its cause demands.
    async fn finish(mut self, cause: EndCause, reader: Reader<'_>) -> Result<(), Error> {
        // The pump must not wait for this reader any more.
        drop(reader);
        let fault = match cause {
            EndCause::Planned(fault) => fault,
            EndCause::Error => return self.close(CloseCode::Policy, "see the error").await,
        };
        match fault {
            Fault::Stall => {
                let mut stream = self.socket.into_inner();
                let mut ignored = [0; 1_024];
                while stream.read(&mut ignored).await? > 0 {}
                Ok(())
            }
            Fault::Quiet => disconnected(&mut self.socket).await,
            Fault::Reset => {
                self.socket.get_ref().set_zero_linger()?;
                Ok(())
            }
            Fault::Drop => Ok(()),
            Fault::Close => self.close(CloseCode::Away, "the server goes away").await,
            _ => self.close(CloseCode::Policy, "see the error").await,
        }
    }

    async fn refuse_future(&mut self) -> Result<(), Error> {
        let error = error("FutureCursor", Some("cursor in the future"), None);
        self.send(error.into()).await?;
        self.close(CloseCode::Policy, "FutureCursor").await
    }

    /// Ends the stream with an error frame, unless the client accepts no more bytes.
    async fn too_slow(&mut self) -> Result<(), Error> {
        self.shared.counts.too_slow.fetch_add(1, Ordering::Relaxed);
        let write_max = self.shared.relay.write_max;
        let error = error("ConsumerTooSlow", Some(TOO_SLOW), None);
        let sending = async {
            self.send(error.into()).await?;
            self.close(CloseCode::Policy, "ConsumerTooSlow").await
        };
        let sent = timeout(write_max, sending).await;
        sent.unwrap_or(Ok(()))
    }

    /// Closes with a close frame, and waits for the client's answer so that no bytes in flight are
    /// lost.
    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Error> {
        let reason = reason.into();
        self.socket.close(Some(CloseFrame { code, reason })).await?;
        let answered = disconnected(&mut self.socket);
        let answered = timeout(self.shared.relay.write_max, answered).await;
        answered.unwrap_or(Ok(()))
    }
}

/// Waits until the client disconnects, and answers its pings meanwhile.
async fn disconnected(socket: &mut WebSocketStream<TcpStream>) -> Result<(), Error> {
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}
