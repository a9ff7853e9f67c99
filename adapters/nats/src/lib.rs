//! The log on NATS JetStream (<https://docs.nats.io/nats-concepts/jetstream>). Other programs can
//! read it as well.
//!
//! # What it holds
//!
//! [`NatsLog`] implements the port `Log` of `skytide-core`:
//!
//! ```text
//! append ─▶ packer ─▶ window ─▶ stream: firehose.p07.app.bsky.feed.like, ..., firehose.tick
//!                     ▲    │                           │
//!                     └────┴── acks, conflicts: ◀──────┴──▶ consumer ─▶ reader
//!                              resynchronize, resend
//! ```
//!
//! - The log's order is the order of the stream, and a position in the log is a stream sequence.
//!   Each message names the sequence that it must follow, and a tick is sent only when all messages
//!   before it are known to be stored. So nothing is missing before a tick, and a writer notices
//!   when another writer has taken over (`writer`, `claim`).
//! - A reader keeps its own position and uses no acknowledgements, so it does not depend on any
//!   state of the server's consumer (`reader`).
//! - `docs/nats.md` describes what JetStream does not promise, and the messages as other programs
//!   see them.
//!
//! Limits: one writer, about 200,000 messages a second. While ingest catches up, a message holds up
//! to 64 events.
//!
//! # What it depends on
//!
//! Of this workspace only `skytide-core`; the client is `async-nats`.
//!
//! # What it does not know
//!
//! It knows no other adapter and no service. Of an event it uses the account, the kind and the
//! collection, for the subject and the order; it never looks into a record. It reads no environment
//! variable and no clock for anything that is stored.

mod claim;
mod connection;
mod format;
mod inspect;
mod packer;
mod position;
mod reader;
mod request;
mod stream;
mod subjects;
mod window;
mod writer;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use skytide_core::config;
use skytide_core::event::{Message, Tick};
use skytide_core::id::Seq;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use skytide_core::port::{BoxError, BoxFuture};

pub use inspect::{Deviation, Inspection, JetStream, SERVER_MIN, StreamInspection, inspect};
use stream::Stream;
pub use subjects::PARTITIONS;

/// A [`Log`] on NATS JetStream. Clones share one log.
#[derive(Clone, Debug)]
pub struct NatsLog {
    shared: Arc<Shared>,
    /// The partitions whose events readers get; `None` for all.
    partitions: Option<Arc<[u16]>>,
}

#[derive(Debug)]
struct Shared {
    stream: Stream,
    in_flight_max: usize,
    batch_events_max: usize,
    latest_claim: claim::LatestClaim,
    /// Whether a writer of this process is blocked because the log is full.
    full: AtomicBool,
}

impl NatsLog {
    /// Connects to the server and creates the stream if there is none.
    ///
    /// # Errors
    /// `Failed` if the server cannot be reached within `NATS_CONNECT_TIMEOUT`, refuses access, has
    /// no JetStream or no room for the stream, or if a stream of this name is not a log of Skytide.
    pub fn connect(config: &config::Nats) -> BoxFuture<'_, Result<Self, LogError>> {
        Box::pin(async {
            let client = connection::connect(config).await?;
            let stream = Stream::open(client, config, random()).await?;
            Ok(Self {
                shared: Arc::new(Shared {
                    stream,
                    in_flight_max: config.in_flight_max as usize,
                    batch_events_max: config.batch_events_max as usize,
                    latest_claim: claim::LatestClaim::default(),
                    full: AtomicBool::new(false),
                }),
                partitions: None,
            })
        })
    }

    /// The same log with a filter: its readers get the events of these partitions out of
    /// [`PARTITIONS`], and all ticks.
    pub fn only(&self, partitions: &[u16]) -> Self {
        Self {
            shared: self.shared.clone(),
            partitions: Some(partitions.into()),
        }
    }

    /// Whether a writer in this process is blocked because the log is at its size limit.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Whether the client is connected to a server at the moment.
    pub fn is_connected(&self) -> bool {
        self.shared.stream.is_connected()
    }

    /// How often the client lost its connection and connected again.
    pub fn reconnects(&self) -> u64 {
        self.shared.stream.reconnects()
    }

    /// The reason why the log cannot continue at the moment; `None` if it can.
    pub fn problem(&self) -> Option<&'static str> {
        if !self.shared.stream.is_connected() {
            return Some("no connection to NATS");
        }
        self.is_full().then_some("the log is at its size limit")
    }
}

#[async_trait]
impl Log for NatsLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        let stream = &self.shared.stream;
        let state = stream.state().await?;
        Ok(Bounds {
            id: stream.id(),
            first: Seq(state.first),
            next: Seq(state.next),
            bytes: state.bytes,
            bytes_max: state.bytes_max,
        })
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        let stream = &self.shared.stream;
        // Checks that this is our stream, since another stream of this name would have ticks too.
        // It must include our claim: a server that has not caught up would return an older tick.
        stream
            .state_with(self.shared.latest_claim.claimed())
            .await?;
        let Some(newest) = stream.newest(&stream.subjects().tick()).await? else {
            return Ok(None);
        };
        format::check(newest.sequence, &newest.headers)?;
        match Message::decode(&newest.payload) {
            Ok(Message::Tick(tick)) => Ok(Some((Seq(newest.sequence), tick))),
            _ => Err(damaged(
                newest.sequence,
                "the newest message on the subject of ticks is not a tick",
            )),
        }
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let writer = writer::Writer::start(self.shared.clone(), random()).await?;
        Ok(Box::new(writer))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        let partitions = self.partitions.as_deref();
        let reader = reader::Reader::open(self.shared.clone(), partitions, from.0).await?;
        Ok(Box::new(reader))
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        let newest_tick = self.newest_tick().await?.map_or(0, |(seq, _)| seq.0);
        let stream = &self.shared.stream;
        let below = below.0.min(newest_tick);
        if below > stream.state().await?.first {
            stream.purge(below).await?;
        }
        Ok(())
    }
}

/// 64 random bits: the standard library seeds its hashers with random keys from the system.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> LogError {
    move |source| LogError::Failed {
        operation,
        source: source.into(),
    }
}

fn damaged(position: u64, what: &str) -> LogError {
    LogError::Damaged(format!("position {position}: {what}"))
}
