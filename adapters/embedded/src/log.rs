//! The log on disk: segments of messages, one writer, readers in this and in other processes.
//!
//! ```text
//! append ─▶ write ─▶ flush: sync, note the synced position ─▶ wake readers
//!                                        readers: up to the synced position, never beyond
//! ```
//!
//! - A reader sees a message when it is durable, so nothing that was read can be lost in a power cut.
//! - Everything is in the files: another process that opens the folder reads the same, and looks for news every
//!   [`POLL`]. Readers in the writer's process are woken.
//! - The synced position tells a torn tail from damage (`recovery`). Format and reasons: `docs/log.md`.
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

/// How often another process's writing and trimming is looked for: less than half the time between two ticks.
pub const POLL: Duration = Duration::from_millis(20);

/// How the log uses the disk.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes of a segment, about: a batch of messages is not divided. Trimming frees whole segments, and never the one with
    /// the newest tick: so it is a quarter of `bytes_max` at most, whatever is said here.
    pub segment_bytes: u64,
    /// Bytes of the whole log at which appending waits until it is trimmed. It may be passed by one batch.
    pub bytes_max: u64,
    /// Whether a flush waits for the disk. Without, messages survive the end of the process, not of the machine:
    /// for scratch folders.
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

/// A [`Log`] in a folder. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct EmbeddedLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    options: LogOptions,
    id: u64,
    /// Told when this process has flushed or trimmed.
    changed: watch::Sender<()>,
    full: AtomicBool,
}

impl EmbeddedLog {
    /// Opens the log in this folder, makes it if there is none. Cuts off a torn tail, unless a writer is at work.
    ///
    /// # Errors
    /// `Damaged` if durable bytes are not what was written, `Failed` if the folder cannot be used.
    pub fn open(folder: &Path, options: LogOptions) -> Result<Self, LogError> {
        let options = LogOptions {
            segment_bytes: options.segment_bytes.min(options.bytes_max / 4),
            ..options
        };
        make_folder(folder).map_err(failed("make its folder"))?;
        match writer::take_over(folder, options, random_id) {
            Ok(_) | Err(LogError::Held) => {}
            Err(error) => return Err(error),
        }
        let last = recovery::check_chain(folder, false)?
            .ok_or_else(|| failed("open")("its first segment is not there yet"))?;
        Ok(Self(Arc::new(Shared {
            folder: folder.to_owned(),
            options,
            id: last.log_id,
            changed: watch::Sender::new(()),
            full: AtomicBool::new(false),
        })))
    }

    /// Whether a writer in this process waits because the log is at its size limit.
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
            let (first, last) = shared.ends()?;
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
        let inner = self
            .blocking(|shared| writer::take_over(&shared.folder, shared.options, || shared.id))
            .await?;
        self.0.changed.send_replace(());
        Ok(Box::new(writer::Writer::new(self.0.clone(), inner)))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        let place = self
            .blocking(move |shared| reader::Place::find(shared, from.0))
            .await?;
        Ok(Box::new(reader::Reader::new(self.0.clone(), place)))
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.blocking(move |shared| shared.trim(below.0)).await
    }
}

impl Shared {
    /// The first position and the last segment.
    fn ends(&self) -> Result<(u64, Segment), LogError> {
        loop {
            let firsts = segment::list(&self.folder)?;
            let (Some(&first), Some(&last)) = (firsts.first(), firsts.last()) else {
                return Err(LogError::Damaged("its segments are gone".to_owned()));
            };
            // A file that is gone by now was trimmed by another process: look again.
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

    /// Removes segments from the front, the oldest first, so that what is left is without a gap at any time.
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
    let broken = || damaged(segment.first, offset, "the newest tick is not there");
    let mut bytes = vec![0; frame::HEAD_BYTES];
    loop {
        let read = segment.file.read_exact_at(&mut bytes, offset);
        read.map_err(failed("read the newest tick"))?;
        match frame::read(&bytes, seq) {
            Frame::Short(needed) => bytes.resize(needed, 0),
            Frame::Whole { message, .. } => match Message::decode(message) {
                Ok(Message::Tick(tick)) => return Ok(tick),
                _ => return Err(broken()),
            },
            Frame::Bad => return Err(broken()),
        }
    }
}

/// 64 bits from the keys that the standard library draws from the system for each hasher.
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
        .map_err(failed("finish its work"))
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
