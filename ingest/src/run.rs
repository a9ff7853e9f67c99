//! The ingest service: it connects source, assembler and log, and handles the failure of each.

mod assembling;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::event::{Host, Tick};
use skytide_core::id::Epoch;
use skytide_core::port::BoxFuture;
use skytide_core::port::clock::Clock;
use skytide_core::port::log::{Log, LogError, LogWriter};
use skytide_core::time::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use assembling::{Arrival, AssembleTask, ReportedProblems};
use reading::{Extent, ReadTask};
use writing::WriteTask;

use crate::assemble::counts::Counts;
use crate::assemble::filter::{Filter, FilterError};
use crate::assemble::{Assembler, LOOKBACK, Position, Setup};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::samples::Samples;
use crate::source::{Source, SourceError};
use crate::status::Status;

/// Largest number of batches of frames in the queue to the assembler.
const QUEUE_BATCHES: usize = 16;
/// Largest size of these batches, in KiB. One more batch may be waiting outside the queue.
const QUEUE_KIB: u32 = 16 << 10;
/// Largest number of epochs in the queue to the log.
const QUEUE_EPOCHS: usize = 4;
/// The first and the longest wait before a retry after an error of the log.
const LOG_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How often a waiting process checks whether the log still has another writer.
const WRITER_RETRY: Duration = Duration::from_millis(500);

/// A live stream without events for this long is idle. Top lists are written at most once per
/// second of network time, so this is the longest time for which they may be out of date.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The ports and callbacks that ingest uses.
#[derive(Clone)]
pub struct Context {
    /// The log that receives the events.
    pub log: Arc<dyn Log>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The Prometheus metrics of ingest.
    pub metrics: Metrics,
    /// Called after each durable write to the log.
    pub progress: Arc<dyn Fn(&Progress) + Send + Sync>,
    /// Reports to health checks what prevents ingest from reading.
    pub status: Status,
    /// Stops ingest when cancelled.
    pub stop: CancellationToken,
}

/// The progress of ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The position in the stream, up to which everything is durable.
    pub position: Position,
    /// The newest durable epoch.
    pub epoch: Epoch,
    /// Network time at the end of that epoch.
    pub time: Timestamp,
    /// Frames read by this run.
    pub frames: u64,
    /// Bytes of these frames.
    pub frame_bytes: u64,
    /// Events written by this run.
    pub events: u64,
    /// Total bytes of the source, if known.
    pub source_bytes: Option<u64>,
    /// Bytes of the source read so far; compressed bytes if a file is compressed.
    pub source_bytes_read: u64,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Sums of the counts of all durable epochs.
    pub counts: Counts,
    /// The newest durable tick; `None` if there is none yet.
    pub tick: Option<Tick>,
    /// Time spent decoding and assembling.
    pub decode: Duration,
    /// Time spent waiting for the log.
    pub log: Duration,
    /// Whether the stream ended, as a recording does. Otherwise `stop` ended the run.
    pub ended: bool,
}

/// An error that stopped ingest.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The log reports an error that a retry cannot fix: an operator must look at it.
    #[error("ingest cannot continue with this log")]
    Log(#[from] LogError),
    /// The rest of the source cannot be read. Everything that was read before is durable.
    #[error("the source can be read no further")]
    Source {
        /// The result until the error.
        summary: Box<Summary>,
        /// The cause.
        #[source]
        source: SourceError,
    },
    /// The log holds the events of another stream. Events of this one would be mixed with them.
    #[error("the data are of {log:?}, not of {source_host:?}")]
    OtherSource {
        /// The stream whose events the log holds.
        log: Host,
        /// The stream that should be read.
        source_host: Host,
    },
    /// A source is given twice, or one of several sources is not a relay.
    #[error("{0:?} cannot be one of several sources: each must be a relay and be given once")]
    Sources(Host),
    /// A filter could not be loaded.
    #[error("could not load the filters of ingest")]
    Filter(#[from] FilterError),
}

/// Why a session ended.
enum SessionEnd {
    Stopped,
    Ended,
    Source(SourceError),
    /// The source is unavailable: another one should be read.
    Unavailable,
}

/// The state that all sessions of a run share.
struct Run {
    options: Options,
    filter: Filter,
    live: bool,
    context: Context,
}

/// The sources, in order of preference.
type SourceList = Vec<Box<dyn Source>>;

/// An instruction to the assembler, in the order of the stream.
enum Work {
    /// Messages of the source, and when they arrived.
    Batch(Vec<crate::source::Raw>, Instant, OwnedSemaphorePermit),
    /// The time of the current epoch has elapsed.
    Tick,
    /// The connection was lost. The assembler replies with the position at which to resume.
    Lost(tokio::sync::oneshot::Sender<Position>),
    /// No further messages follow.
    End {
        /// Whether the stream ended here; otherwise only reading stopped.
        last: bool,
    },
}

/// Reads the source into the log until the stream ends or `stop` is cancelled.
///
/// Of several relays, one is read at a time. Reading starts with the relay of the log's newest
/// tick, or with the first one if the log is empty or names none of them. When a relay is
/// unavailable, reading changes to the next one.
///
/// A transient error of the log (`Failed`) is retried without limit: each retry opens a new writer
/// and resumes at the log's newest tick. While another process writes the log, a live stream waits
/// until that process releases it.
///
/// # Errors
/// The source or the log has failed permanently, or the log holds another stream.
pub fn run(
    options: Options,
    sources: SourceList,
    context: Context,
) -> BoxFuture<'static, Result<Summary, IngestError>> {
    Box::pin(read_sources(options, sources, context))
}

async fn read_sources(
    options: Options,
    mut sources: SourceList,
    context: Context,
) -> Result<Summary, IngestError> {
    check_source_list(&sources)?;
    let run = Run {
        filter: Filter::load(&options)?,
        live: sources.iter().all(|source| source.live()),
        options,
        context,
    };
    let mut summary = Summary::default();
    let mut retry = LOG_RETRY.0;
    let mut wait_reported = false;
    loop {
        let done = summary.counts.frames;
        let pause = match run.session_with_deadline(&mut sources, &mut summary).await {
            Ok(ending) => return conclude(ending, summary),
            Err(IngestError::Log(LogError::Held)) if run.live => {
                if !std::mem::replace(&mut wait_reported, true) {
                    info!("another process writes the log, waiting until it exits");
                }
                WRITER_RETRY
            }
            Err(IngestError::Log(error @ LogError::Failed { .. })) => {
                let progressed = summary.counts.frames > done;
                let pause = if progressed { LOG_RETRY.0 } else { retry };
                run.report_log_error(&error, pause);
                (retry, wait_reported) = ((pause * 2).min(LOG_RETRY.1), false);
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

fn conclude(ending: SessionEnd, mut summary: Summary) -> Result<Summary, IngestError> {
    match ending {
        SessionEnd::Stopped | SessionEnd::Unavailable => Ok(summary),
        SessionEnd::Ended => {
            summary.ended = true;
            Ok(summary)
        }
        SessionEnd::Source(source) => {
            let summary = Box::new(summary);
            Err(IngestError::Source { summary, source })
        }
    }
}

impl Run {
    /// Runs a session and ends it at the latest `stop_grace` after `stop`.
    async fn session_with_deadline(
        &self,
        sources: &mut SourceList,
        summary: &mut Summary,
    ) -> Result<SessionEnd, IngestError> {
        let overdue = async {
            self.context.stop.cancelled().await;
            sleep(self.options.stop_grace).await;
        };
        let ending = tokio::select! {
            ending = self.session(sources, summary) => ending,
            () = overdue => {
                warn!(
                    "stopped before all frames that were read became durable; \
                     the next start reads them again"
                );
                Ok(SessionEnd::Stopped)
            }
        };
        self.context.metrics.connected(false);
        ending
    }

    /// Opens a writer, resumes at the log's newest tick and reads one source after another.
    async fn session(
        &self,
        sources: &mut SourceList,
        summary: &mut Summary,
    ) -> Result<SessionEnd, IngestError> {
        let mut writer = self.context.log.writer().await?;
        summary.tick = self.context.log.newest_tick().await?.map(|(_, tick)| tick);
        let mut current = newest_source(sources, summary.tick.as_ref());
        loop {
            let source = sources[current].as_mut();
            check_source(source, summary.tick.as_ref())?;
            match self.read(source, writer.as_mut(), summary).await? {
                SessionEnd::Unavailable => {
                    self.context.metrics.source_change();
                    current = (current + 1) % sources.len();
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
            pause_ticks: idle_ticks(self.options.tick_interval),
        }
    }

    /// Reads one source from its last position until it ends, fails or is unavailable.
    async fn read(
        &self,
        source: &mut dyn Source,
        writer: &mut dyn LogWriter,
        summary: &mut Summary,
    ) -> Result<SessionEnd, IngestError> {
        let stream_ended = summary.tick.as_ref().is_some_and(|tick| tick.last);
        let assembler = Assembler::new(self.setup(source), summary.tick.as_ref());
        source.seek(assembler.position(), LOOKBACK);

        let (work, work_queue) = mpsc::channel(QUEUE_BATCHES);
        let (cut_sender, cuts) = mpsc::channel(QUEUE_EPOCHS);
        let reconnect = Arc::new(Notify::new());
        let extent = Extent::default();
        let (mut ticker, mut assemble_task) = (JoinSet::new(), JoinSet::new());
        if self.live {
            ticker.spawn(reading::tick(work.downgrade(), self.options.tick_interval));
        }
        assemble_task.spawn(assembling::assemble(AssembleTask {
            stream_ended,
            assembler,
            work: work_queue,
            cuts: cut_sender,
            context: self.context.clone(),
            samples: Samples::open(self.options.samples.as_deref()),
            reconnect: reconnect.clone(),
            poll: self.options.tick_interval,
            reported: ReportedProblems::default(),
            arrival: Arrival::default(),
        }));
        let mut write_task = WriteTask {
            context: &self.context,
            live: self.live,
            work: work.downgrade(),
            cuts,
            extent: &extent,
            summary,
        };
        let mut read_task = ReadTask {
            context: &self.context,
            work,
            room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
            reconnect: &reconnect,
            extent: &extent,
            is_stuck: false,
        };
        let ended = tokio::try_join!(
            async { Ok(read_task.read(source).await) },
            write_task.write(writer),
        );
        let (ending, ()) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // What it holds and what is queued is read again from the log's newest tick. Only
                // after its end does nothing change the sizes.
                assemble_task.shutdown().await;
                self.context.metrics.clear_queues();
                return Err(error);
            }
        };
        while let Some(done) = assemble_task.join_next().await {
            match done {
                Ok(decode) => summary.decode += decode,
                Err(failed) => {
                    // Otherwise it was cancelled, because the runtime shuts down.
                    if let Ok(panic) = failed.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        self.context.metrics.clear_queues();
        Ok(ending)
    }

    fn report_log_error(&self, error: &LogError, retry: Duration) {
        self.context.metrics.log_error();
        let cause = std::error::Error::source(error).map(ToString::to_string);
        warn!(%error, cause, ?retry, "could not write the log, resuming at its newest tick");
    }
}

/// The number of ticks without events after which a live stream is idle.
fn idle_ticks(interval: Duration) -> u32 {
    let ticks = IDLE_AFTER.as_nanos().div_ceil(interval.as_nanos().max(1));
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Checks that several sources are different relays.
fn check_source_list(sources: &SourceList) -> Result<(), IngestError> {
    for (index, source) in sources.iter().enumerate() {
        let host = source.host();
        let twice = sources[..index].iter().any(|other| other.host() == host);
        if twice || (sources.len() > 1 && !source.live()) {
            return Err(IngestError::Sources(host.clone()));
        }
    }
    Ok(())
}

/// The index of the source that wrote the newest tick, or 0 if there is none.
fn newest_source(sources: &SourceList, newest: Option<&Tick>) -> usize {
    let belongs_to = |source: &dyn Source, host: &Host| {
        source.host() == host || source.former_hosts().contains(host)
    };
    let found = newest.and_then(|tick| {
        let mut sources = sources.iter();
        sources.position(|source| belongs_to(source.as_ref(), &tick.host))
    });
    found.unwrap_or(0)
}

/// Refuses to mix a recording with any other source.
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
            let cursor = left.cursor;
            info!(%before, %now, %cursor, "reading another relay: resuming at its last position");
        }
        None => info!(%before, %now, "reading another relay, which was never read before"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
