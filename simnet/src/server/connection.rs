//! One open stream: frames to a client until it goes, is too slow, or something goes wrong as planned.

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
use super::net::Net;
use super::relay::Cursors;
use super::window::{Begin, Kept, Next, Reader};
use crate::faults::{Fault, Lane};
use crate::{error, info};

/// Frames that are sent together.
const BATCH_FRAMES: usize = 128;
/// Bytes that are sent together, unless one frame has more.
const BATCH_BYTES: usize = 256 << 10;

/// What a client is told that cannot follow.
const TOO_SLOW: &str = "the stream could not keep up";

/// A client with its stream.
pub(super) struct Connection<'a> {
    net: &'a Net,
    socket: WebSocketStream<TcpStream>,
    lane: Lane,
    /// Whether it has had all frames once.
    live: bool,
}

/// How a stream goes on.
enum Flow {
    On,
    /// The client is gone, or nothing more is to be told.
    End,
}

/// What ended a stream.
#[derive(Clone, Copy)]
enum Ending {
    /// A fault that was planned.
    Planned(Fault),
    /// An error frame of the network itself.
    Error,
}

impl<'a> Connection<'a> {
    pub(super) fn new(net: &'a Net, socket: WebSocketStream<TcpStream>, lane: Lane) -> Self {
        Self {
            net,
            socket,
            lane,
            live: false,
        }
    }

    /// Serves the stream behind a cursor until it ends.
    pub(super) async fn run(mut self, cursor: Option<u64>) -> Result<(), Error> {
        let reader = self.net.window.reader();
        let mut news = self.net.window.subscribe();
        let begin = tokio::select! {
            begin = reader.seek(cursor) => begin,
            gone = gone(&mut self.socket) => return gone,
        };
        let told = self.net.relay.cursors == Cursors::Told;
        match begin {
            Begin::Outdated(_) if told => {
                let text = "the requested cursor is older than what there is";
                self.send(info("OutdatedCursor", Some(text)).into()).await?;
            }
            Begin::Future if told => return self.refuse_future().await,
            Begin::Future => reader.seek_end(),
            Begin::At(_) | Begin::Outdated(_) => {}
        }
        while let Some(fault) = self.lane.take() {
            if let Flow::End = self.fire(fault).await? {
                return self.linger(Ending::Planned(fault), reader).await;
            }
        }
        loop {
            news.borrow_and_update();
            match reader.next(BATCH_FRAMES, BATCH_BYTES, self.lag_max()) {
                Next::TooSlow => return self.too_slow().await,
                Next::Frames(frames) if frames.is_empty() => {
                    self.live = true;
                    if let Flow::End = self.wait(&mut news).await? {
                        return Ok(());
                    }
                }
                Next::Frames(frames) => {
                    let write_max = self.net.relay.write_max;
                    let sent = timeout(write_max, self.batch(&frames, &reader)).await;
                    match sent {
                        Err(_) => return self.too_slow().await,
                        Ok(sent) => {
                            if let Some(ending) = sent? {
                                return self.linger(ending, reader).await;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whoever reads what is past may be far behind, as long as it is there.
    fn lag_max(&self) -> u64 {
        match self.live && self.net.counts.caught_up.load(Ordering::Relaxed) {
            true => self.net.relay.lag_frames_max,
            false => u64::MAX,
        }
    }

    /// Waits for a frame; answers pings meanwhile.
    async fn wait(&mut self, news: &mut watch::Receiver<u64>) -> Result<Flow, Error> {
        tokio::select! {
            changed = news.changed() => Ok(match changed {
                Ok(()) => Flow::On,
                Err(_) => Flow::End,
            }),
            gone = gone(&mut self.socket) => gone.map(|()| Flow::End),
        }
    }

    /// Sends frames, and what is planned between them; answers what ended it.
    async fn batch(
        &mut self,
        frames: &[Kept],
        reader: &Reader<'_>,
    ) -> Result<Option<Ending>, Error> {
        let begin = reader.place() - frames.len() as u64;
        let anywhere = self.net.faults.anywhere();
        for (place, kept) in frames.iter().enumerate() {
            let behind = begin + place as u64;
            anywhere.reach(behind);
            while kept.is_new
                && let Some(fault) = self.lane.take().or_else(|| anywhere.take(behind))
            {
                if let Flow::End = self.fire(fault).await? {
                    reader.give_back(frames.len() - place);
                    return Ok(Some(Ending::Planned(fault)));
                }
            }
            let message = Message::Binary(kept.bytes.clone());
            self.socket.feed(message).await?;
            self.lane.sent();
            if kept.is_error {
                self.socket.flush().await?;
                reader.end_with_error(frames.len() - place - 1);
                return Ok(Some(Ending::Error));
            }
        }
        self.socket.flush().await?;
        // Pings are answered between batches as well, and a closing frame is seen.
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

    /// Lets something go wrong that was planned; what ends the stream is done by [`Self::linger`].
    async fn fire(&mut self, fault: Fault) -> Result<Flow, Error> {
        let t = (fault == Fault::TypedError).then_some("#info");
        let error = |name, text| Bytes::from(error(name, Some(text), t));
        let (message, flow) = match fault {
            Fault::Garbage => (
                Message::Binary(Bytes::from_static(b"\xff\x00these are no frames")),
                Flow::On,
            ),
            Fault::Text => (Message::Text("this stream is binary".into()), Flow::On),
            Fault::Oversized => (Message::Binary(vec![0; OVERSIZED_BYTES].into()), Flow::On),
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
                self.net.faults.count(fault);
                return Ok(Flow::End);
            }
        };
        // A client that has had enough of this goes: that is what was planned.
        self.net.faults.count(fault);
        self.socket.send(message).await?;
        Ok(flow)
    }

    /// Ends the stream the way this fault does.
    async fn linger(mut self, ending: Ending, reader: Reader<'_>) -> Result<(), Error> {
        // Whoever waits for readers does not wait for this one.
        drop(reader);
        let fault = match ending {
            Ending::Planned(fault) => fault,
            Ending::Error => return self.close(CloseCode::Policy, "see the error").await,
        };
        match fault {
            Fault::Stall => {
                let mut stream = self.socket.into_inner();
                let mut unheard = [0; 1_024];
                while stream.read(&mut unheard).await? > 0 {}
                Ok(())
            }
            Fault::Quiet => gone(&mut self.socket).await,
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

    /// Says so if the client takes any more bytes, and ends the stream.
    async fn too_slow(&mut self) -> Result<(), Error> {
        self.net.counts.too_slow.fetch_add(1, Ordering::Relaxed);
        let write_max = self.net.relay.write_max;
        let error = error("ConsumerTooSlow", Some(TOO_SLOW), None);
        let telling = async {
            self.send(error.into()).await?;
            self.close(CloseCode::Policy, "ConsumerTooSlow").await
        };
        let told = timeout(write_max, telling).await;
        told.unwrap_or(Ok(()))
    }

    /// Closes by the protocol, and waits for the client's answer so that nothing on its way is lost.
    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Error> {
        let reason = reason.into();
        self.socket.close(Some(CloseFrame { code, reason })).await?;
        let answered = gone(&mut self.socket);
        let answered = timeout(self.net.relay.write_max, answered).await;
        answered.unwrap_or(Ok(()))
    }
}

/// Waits for the client to go, and answers its pings meanwhile.
async fn gone(socket: &mut WebSocketStream<TcpStream>) -> Result<(), Error> {
    while socket.next().await.transpose()?.is_some() {}
    Ok(())
}
