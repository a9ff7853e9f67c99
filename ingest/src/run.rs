//! The service: source, assembler and log, and what happens when one of them fails.

mod assembling;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use skytide_core::event::{Host, Tick};
use skytide_core::id::Epoch;
use skytide_core::port::clock::Clock;
use skytide_core::port::log::{Log, LogError, LogWriter};
use skytide_core::time::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use assembling::{Assembling, Reported};
use reading::{Extent, Reading};
use writing::Writing;

use crate::assemble::counts::Counts;
use crate::assemble::filter::{Filter, FilterError};
use crate::assemble::{Assembler, LOOKBACK, Position, Setup};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::samples::Samples;
use crate::source::{Source, SourceError};
use crate::status::Status;

/// Batches of frames that wait to be decoded, at most.
const QUEUE_BATCHES: usize = 16;
/// KiB of frames that wait to be decoded, at most, and one batch more.
const QUEUE_KIB: u32 = 16 << 10;
/// Epochs that wait for the log, at most.
const QUEUE_EPOCHS: usize = 4;
/// The first and the longest wait after an error of the log.
const LOG_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How often one who waits asks whether the log still has another writer.
const HELD_RETRY: Duration = Duration::from_millis(500);

/// A live stream that brings no event for so long has paused: as long as lists may wait for network time.
const PAUSE: Duration = Duration::from_secs(1);

/// What surrounds ingest.
#[derive(Clone)]
pub struct Context {
    /// Where events go.
    pub log: Arc<dyn Log>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What is shown to Prometheus.
    pub metrics: Metrics,
    /// Called after each write that became durable.
    pub progress: Arc<dyn Fn(&Progress) + Send + Sync>,
    /// What keeps ingest from reading, for health checks.
    pub status: Status,
    /// Ends ingest when cancelled.
    pub stop: CancellationToken,
}

/// How far ingest came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands in the stream.
    pub position: Position,
    /// The newest durable epoch.
    pub epoch: Epoch,
    /// Network time at its end.
    pub time: Timestamp,
    /// Frames, bytes and events of this run.
    pub frames: u64,
    /// Bytes of these frames.
    pub frame_bytes: u64,
    /// Events written.
    pub events: u64,
    /// Bytes of the source in all, if it is known.
    pub source_bytes: Option<u64>,
    /// Bytes read of it so far (of the files as they are, compressed or not).
    pub source_bytes_read: u64,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Everything that was counted and is durable.
    pub counts: Counts,
    /// The newest durable tick; `None` if there is none yet.
    pub tick: Option<Tick>,
    /// Time spent decoding and assembling.
    pub decode: Duration,
    /// Time spent waiting for the log.
    pub log: Duration,
    /// Whether the stream ended, as a recording does; else `stop` ended the run.
    pub ended: bool,
}

/// Why ingest ended against its will.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The log refuses: stop, a person must look.
    #[error("ingest cannot go on with this log")]
    Log(#[from] LogError),
    /// The source can be read no further. What was read before is durable.
    #[error("the source can be read no further")]
    Source {
        /// What was done until then.
        summary: Box<Summary>,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The log holds another stream, which this one would be mixed with.
    #[error("the data are of {log:?}, not of {source_host:?}")]
    OtherSource {
        /// Whose events the log holds.
        log: Host,
        /// What was to be read.
        source_host: Host,
    },
    /// The same source is given twice, or something that is no relay among several.
    #[error("{0:?} cannot be one of several sources: each must be a relay and be given once")]
    Sources(Host),
    /// A filter cannot be used as it is written.
    #[error("a filter of ingest is not usable")]
    Filter(#[from] FilterError),
}

/// How a session ended.
enum Ending {
    Stopped,
    Ended,
    Source(SourceError),
    /// Another source should be read.
    Unavailable,
}

/// What stays the same from session to session.
struct Run {
    options: Options,
    filter: Filter,
    live: bool,
    context: Context,
}

/// The sources, in the order of their preference.
type SourceList = Vec<Box<dyn Source>>;

/// What is to be done with the stream, in its order.
enum Work {
    Batch(Vec<crate::source::Raw>, OwnedSemaphorePermit),
    /// The time of the epoch is over.
    Tick,
    /// The connection is lost: answer where to go on.
    Lost(tokio::sync::oneshot::Sender<Position>),
    /// Nothing more comes. `last`: the stream ended.
    End {
        last: bool,
    },
}

/// Reads the source into the log until the stream ends or `stop` is cancelled. Of several relays it reads one at a time: that
/// of the log's newest tick, else the first, and the next one when a relay is unavailable.
///
/// An error of the log that may pass (`Failed`) leads back to its newest tick, with a new writer, as often as it takes.
/// While another one writes the log, a live stream waits for its turn.
///
/// # Errors
/// The source or the log cannot be used further, or they do not belong together.
pub async fn run(
    options: Options,
    mut sources: SourceList,
    context: Context,
) -> Result<Summary, IngestError> {
    check_list(&sources)?;
    let run = Run {
        filter: Filter::load(&options)?,
        live: sources.iter().all(|source| source.live()),
        options,
        context,
    };
    let mut summary = Summary::default();
    let mut retry = LOG_RETRY.0;
    let mut waits = false;
    loop {
        let done = summary.counts.frames;
        let pause = match run.session_or_overdue(&mut sources, &mut summary).await {
            Ok(ending) => return conclude(ending, summary),
            Err(IngestError::Log(LogError::Held)) if run.live => {
                if !std::mem::replace(&mut waits, true) {
                    info!("another process writes the log, waiting until it ends");
                }
                HELD_RETRY
            }
            Err(IngestError::Log(error @ LogError::Failed { .. })) => {
                let progressed = summary.counts.frames > done;
                let pause = if progressed { LOG_RETRY.0 } else { retry };
                run.tell_log_error(&error, pause);
                (retry, waits) = ((pause * 2).min(LOG_RETRY.1), false);
                pause
            }
            Err(error) => return Err(error),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = run.context.stop.cancelled() => return Ok(summary),
        }
    }
}

fn conclude(ending: Ending, mut summary: Summary) -> Result<Summary, IngestError> {
    match ending {
        Ending::Stopped | Ending::Unavailable => Ok(summary),
        Ending::Ended => {
            summary.ended = true;
            Ok(summary)
        }
        Ending::Source(source) => {
            let summary = Box::new(summary);
            Err(IngestError::Source { summary, source })
        }
    }
}

impl Run {
    /// A session, but no longer than `stop_grace` after `stop`.
    async fn session_or_overdue(
        &self,
        sources: &mut SourceList,
        summary: &mut Summary,
    ) -> Result<Ending, IngestError> {
        let overdue = async {
            self.context.stop.cancelled().await;
            sleep(self.options.stop_grace).await;
        };
        let ending = tokio::select! {
            ending = self.session(sources, summary) => ending,
            () = overdue => {
                warn!("stopped before everything that was read became durable; it will be read again");
                Ok(Ending::Stopped)
            }
        };
        self.context.metrics.connected(false);
        ending
    }

    /// With one writer: from the log's newest tick on, source after source, until something ends it.
    async fn session(
        &self,
        sources: &mut SourceList,
        summary: &mut Summary,
    ) -> Result<Ending, IngestError> {
        let mut writer = self.context.log.writer().await?;
        summary.tick = self.context.log.newest_tick().await?.map(|(_, tick)| tick);
        let mut place = newest_source(sources, summary.tick.as_ref());
        loop {
            let source = sources[place].as_mut();
            check_source(source, summary.tick.as_ref())?;
            match self.read(source, writer.as_mut(), summary).await? {
                Ending::Unavailable => {
                    self.context.metrics.source_change();
                    place = (place + 1) % sources.len();
                }
                ending => return Ok(ending),
            }
        }
    }

    fn setup(&self, source: &dyn Source) -> Setup {
        Setup {
            host: source.host().clone(),
            former_hosts: source.former_hosts().to_vec(),
            cursor_reset: self.options.cursor_reset,
            live: source.live(),
            verify: self.options.verify,
            filter: self.filter.clone(),
            tick_events_max: self.options.tick_events_max,
            pause_ticks: pause_ticks(self.options.tick_interval),
        }
    }

    /// One source, from where it was left, until something ends it.
    async fn read(
        &self,
        source: &mut dyn Source,
        writer: &mut dyn LogWriter,
        summary: &mut Summary,
    ) -> Result<Ending, IngestError> {
        let ended = summary.tick.as_ref().is_some_and(|tick| tick.last);
        let assembler = Assembler::new(self.setup(source), summary.tick.as_ref());
        source.seek(assembler.position(), LOOKBACK);

        let (work, works) = mpsc::channel(QUEUE_BATCHES);
        let (cut, cuts) = mpsc::channel(QUEUE_EPOCHS);
        let reconnect = Arc::new(Notify::new());
        let extent = Extent::default();
        let (mut ticker, mut assembling) = (JoinSet::new(), JoinSet::new());
        if self.live {
            ticker.spawn(reading::tick(work.downgrade(), self.options.tick_interval));
        }
        assembling.spawn(assembling::assemble(Assembling {
            ended,
            assembler,
            works,
            cuts: cut,
            context: self.context.clone(),
            samples: Samples::open(self.options.samples.as_deref()),
            reconnect: reconnect.clone(),
            poll: self.options.tick_interval,
            reported: Reported::default(),
        }));
        let mut writing = Writing {
            context: &self.context,
            live: self.live,
            works: work.downgrade(),
            cuts,
            extent: &extent,
            summary,
        };
        let mut reading = Reading {
            context: &self.context,
            work,
            room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            reconnect: &reconnect,
            extent: &extent,
            is_stuck: false,
        };
        let (ending, ()) = tokio::try_join!(
            async { Ok(reading.read(source).await) },
            writing.write(writer),
        )?;
        while let Some(done) = assembling.join_next().await {
            match done {
                Ok(decode) => summary.decode += decode,
                Err(failed) => {
                    // Cancelled: the runtime ends, and this with it.
                    if let Ok(panic) = failed.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        Ok(ending)
    }

    fn tell_log_error(&self, error: &LogError, retry: Duration) {
        self.context.metrics.log_error();
        let cause = std::error::Error::source(error).map(ToString::to_string);
        warn!(%error, cause, ?retry, "going back to the newest tick of the log");
    }
}

/// Ticks of a pause.
fn pause_ticks(interval: Duration) -> u32 {
    let ticks = PAUSE.as_nanos().div_ceil(interval.as_nanos().max(1));
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Several sources must be different relays.
fn check_list(sources: &SourceList) -> Result<(), IngestError> {
    for (place, source) in sources.iter().enumerate() {
        let host = source.host();
        let twice = sources[..place].iter().any(|other| other.host() == host);
        if twice || (sources.len() > 1 && !source.live()) {
            return Err(IngestError::Sources(host.clone()));
        }
    }
    Ok(())
}

/// The source that the newest tick is of, else the first one.
fn newest_source(sources: &SourceList, newest: Option<&Tick>) -> usize {
    let is_of = |source: &dyn Source, host: &Host| {
        source.host() == host || source.former_hosts().contains(host)
    };
    let found = newest.and_then(|tick| {
        let mut sources = sources.iter();
        sources.position(|source| is_of(source.as_ref(), &tick.host))
    });
    found.unwrap_or(0)
}

/// Refuses to mix a recording with anything else.
fn check_source(source: &dyn Source, newest: Option<&Tick>) -> Result<(), IngestError> {
    let host = source.host();
    let Some(tick) = newest.filter(|tick| tick.host != *host) else {
        return Ok(());
    };
    if !source.live() || tick.host.starts_with("recording:") {
        return Err(IngestError::OtherSource {
            log: tick.host.clone(),
            source_host: host.clone(),
        });
    }
    let (before, now) = (&tick.host, host);
    match tick.sources.others.get(host) {
        Some(left) => {
            info!(%before, %now, cursor = %left.cursor, "another relay than before: resuming where it was left");
        }
        None => info!(%before, %now, "another relay than before: it was never read"),
    }
    Ok(())
}
