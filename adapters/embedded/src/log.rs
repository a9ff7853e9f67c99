//! The log on disk: segments of messages, one writer, readers in this process and in other
//! processes.
//!
//! ```text
//! append ─▶ write ─▶ flush: fsync, record the synced position ─▶ wake readers
//!                                          readers: up to the synced position, never beyond
//! ```
//!
//! - A reader gets a message only after it is durable, so no message that was read can be lost in a
//!   power cut.
//! - The whole state is in the files. Another process that opens the folder reads the same messages
//!   and polls for new ones every [`POLL`]. Readers in the writer's process are woken.
//! - The synced position distinguishes a torn tail from damage (see `recovery`). `docs/log.md`
//!   describes the format and the reasons for it.
//! - All I/O runs on tokio's blocking threads.

mod frame;
mod reader;
mod recovery;
mod segment;
mod writer;

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::event::{Message, Tick};
use skytide_core::id::Seq;
use skytide_core::port::BoxError;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use tokio::sync::watch;

use super::durable::sync_folder;
use super::folder::make_folder;
use frame::Frame;
use segment::Segment;

/// How often to check whether another process wrote or trimmed: less than half the time between two
/// ticks.
pub const POLL: Duration = Duration::from_millis(20);

/// How the log uses the disk.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Approximate size of a segment in bytes; a batch of messages is never split. Trimming deletes
    /// whole segments, and never the segment with the newest tick. Therefore this is limited to a
    /// quarter of `bytes_max`.
    pub segment_bytes: u64,
    /// Size of the whole log in bytes at which `append` blocks until the log is trimmed. One batch
    /// may exceed it.
    pub bytes_max: u64,
    /// Whether a flush calls fsync. Without it, messages survive the end of the process but not a
    /// crash of the machine. For scratch folders.
    pub sync: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            bytes_max: 64 << 30,
            sync: true,
        }
    }
}

/// A [`Log`] in a folder. Clones share one log.
#[derive(Clone, Debug)]
pub struct EmbeddedLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    options: LogOptions,
    id: u64,
    /// Notified after this process has flushed or trimmed.
    changed: watch::Sender<()>,
    full: AtomicBool,
}

impl EmbeddedLog {
    /// Opens the log in this folder and creates it if there is none. Truncates a torn tail, unless
    /// another writer is active.
    ///
    /// # Errors
    /// `Damaged` if durable bytes are not what was written, `Failed` if the folder cannot be used.
    pub fn open(folder: &Path, options: LogOptions) -> Result<Self, LogError> {
        let options = LogOptions {
            segment_bytes: options.segment_bytes.min(options.bytes_max / 4),
            ..options
        };
        make_folder(folder).map_err(failed("create its folder"))?;
        // Recovers the log, or creates it. The right to write is released at once.
        match writer::take_over(folder, options, random_id) {
            Ok(_) | Err(LogError::Held) => {}
            Err(error) => return Err(error),
        }
        let last = recovery::check_chain(folder, false)?
            .ok_or_else(|| failed("open")("its first segment does not exist yet: try again"))?;
        Ok(Self(Arc::new(Shared {
            folder: folder.to_owned(),
            options,
            id: last.log_id,
            changed: watch::Sender::new(()),
            full: AtomicBool::new(false),
        })))
    }

    /// Whether a writer in this process is blocked because the log is at its size limit.
    pub fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = self.0.clone();
        blocking(move || work(&shared)).await?
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.blocking(|shared| {
            let (first, last) = shared.first_and_last()?;
            Ok(Bounds {
                id: shared.id,
                first: Seq(first),
                next: Seq(last.synced()?.next),
                bytes: segment::total_bytes(&shared.folder)?,
                bytes_max: shared.options.bytes_max,
            })
        })
        .await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.blocking(|shared| {
            let tick = shared.newest_tick()?;
            Ok(tick.map(|(seq, tick)| (Seq(seq), tick)))
        })
        .await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let tail = self
            .blocking(|shared| writer::take_over(&shared.folder, shared.options, || shared.id))
            .await?;
        self.0.changed.send_replace(());
        Ok(Box::new(writer::Writer::new(self.0.clone(), tail)))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        let position = self
            .blocking(move |shared| reader::LogPosition::find(shared, from.0))
            .await?;
        Ok(Box::new(reader::Reader::new(self.0.clone(), position)))
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.blocking(move |shared| shared.trim(below.0)).await
    }
}

impl Shared {
    /// The position of the first message, and the last segment.
    fn first_and_last(&self) -> Result<(u64, Segment), LogError> {
        loop {
            let firsts = segment::list(&self.folder)?;
            let (Some(&first), Some(&last)) = (firsts.first(), firsts.last()) else {
                return Err(LogError::Damaged(
                    "all its segments have been removed".to_owned(),
                ));
            };
            // A missing file was trimmed by another process in the meantime: list the segments
            // again.
            if let Some(last) = Segment::open(&self.folder, last, false)? {
                return Ok((first, last));
            }
        }
    }

    fn newest_tick(&self) -> Result<Option<(u64, Tick)>, LogError> {
        for first in segment::list(&self.folder)?.into_iter().rev() {
            let Some(segment) = Segment::open(&self.folder, first, false)? else {
                break;
            };
            if let Some((offset, seq)) = segment.synced()?.tick {
                return read_tick(&segment, offset, seq).map(|tick| Some((seq, tick)));
            }
        }
        Ok(None)
    }

    /// Removes the oldest segments first, so that the remaining log never has a gap.
    fn trim(&self, below: u64) -> Result<(), LogError> {
        let newest_tick = self.newest_tick()?.map_or(0, |(seq, _)| seq);
        let firsts = segment::list(&self.folder)?;
        for (&first, &next) in firsts.iter().zip(firsts.iter().skip(1)) {
            if next > below.min(newest_tick) {
                break;
            }
            match std::fs::remove_file(segment::path(&self.folder, first)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("trim"))?,
            }
        }
        sync_folder(&self.folder).map_err(failed("trim"))?;
        self.changed.send_replace(());
        Ok(())
    }
}

fn read_tick(segment: &Segment, offset: u64, seq: u64) -> Result<Tick, LogError> {
    use std::os::unix::fs::FileExt;
    let invalid = || damaged(segment.first, offset, "the newest tick is missing");
    let mut bytes = vec![0; frame::HEAD_BYTES];
    loop {
        let read = segment.file.read_exact_at(&mut bytes, offset);
        read.map_err(failed("read the newest tick"))?;
        match frame::read(&bytes, seq) {
            Frame::Incomplete { needed } => bytes.resize(needed, 0),
            Frame::Complete { message, .. } => match Message::decode(message) {
                Ok(Message::Tick(tick)) => return Ok(tick),
                _ => return Err(invalid()),
            },
            Frame::Invalid => return Err(invalid()),
        }
    }
}

/// 64 random bits: the standard library seeds each hasher with random keys from the system.
fn random_id() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(failed("wait for the blocking thread"))
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> LogError {
    move |source| LogError::Failed {
        operation,
        source: source.into(),
    }
}

fn damaged(segment: u64, offset: u64, what: &str) -> LogError {
    LogError::Damaged(format!(
        "segment {segment:020}.log, offset {offset}: {what}"
    ))
}
