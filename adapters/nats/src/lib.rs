//! The log on NATS JetStream (<https://docs.nats.io/nats-concepts/jetstream>), which other programs can read as well.
//!
//! ```text
//! append ─▶ packer ─▶ window ─▶ stream: firehose.p07.app.bsky.feed.like, ..., firehose.tick ─▶ pull ─▶ reader
//!                       ▲  │                                                    │
//!                       └──┴────────── acks, conflicts: go back, repeat ◀───────┘
//! ```
//!
//! - The log's order is the stream's order, and a position is a stream sequence. Each message names the sequence it must
//!   follow, and a tick is sent when all before it is known to be stored: nothing is missing below a tick, and a writer
//!   that another one took over from is found out (`writer`, `claim`).
//! - A reader keeps its own position and asks for no acknowledgements: the server's bookkeeping decides nothing (`reader`).
//! - What JetStream does not promise, and the messages as other programs see them: `docs/nats.md`.
//!
//! Limits: one writer, about 200,000 messages a second; while ingest catches up, a message holds up to 64 events.

mod claim;
mod connection;
mod format;
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
use skytide_core::port::BoxError;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};

use stream::Stream;
pub use subjects::PARTITIONS;

/// A [`Log`] on NATS JetStream. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct NatsLog {
    shared: Arc<Shared>,
    /// Whose events readers get: all, or those of these partitions.
    partitions: Option<Arc<[u16]>>,
}

#[derive(Debug)]
struct Shared {
    stream: Stream,
    in_flight_max: usize,
    batch_events_max: usize,
    latest_claim: claim::LatestClaim,
    /// Whether a writer of this process waits for room.
    full: AtomicBool,
}

impl NatsLog {
    /// Connects to the server, and makes the stream if there is none.
    ///
    /// # Errors
    /// `Failed` if the server cannot be reached within `NATS_CONNECT_TIMEOUT`, does not let us in, has no JetStream or no
    /// room for the stream, or if a stream of this name is something else.
    pub async fn connect(config: &config::Nats) -> Result<Self, LogError> {
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
    }

    /// The same log; its readers get the events of these partitions of [`PARTITIONS`], and all ticks.
    pub fn only(&self, partitions: &[u16]) -> Self {
        Self {
            shared: self.shared.clone(),
            partitions: Some(partitions.into()),
        }
    }

    /// Whether a writer in this process waits because the log is at its size limit.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Why the log does not go on at the moment, if it does not.
    pub fn trouble(&self) -> Option<&'static str> {
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
        // Another stream of this name would have a tick, too. One that ends before our claim would have an older one.
        stream
            .state_with(self.shared.latest_claim.claimed())
            .await?;
        let Some(newest) = stream.newest(&stream.subjects().tick()).await? else {
            return Ok(None);
        };
        format::check(newest.sequence, &newest.headers)?;
        match Message::decode(&newest.payload) {
            Ok(Message::Tick(tick)) => Ok(Some((Seq(newest.sequence), tick))),
            _ => Err(damaged(newest.sequence, "it is no tick")),
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

/// 64 bits from the keys that the standard library draws from the system for its hashers.
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
