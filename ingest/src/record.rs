//! Records the frames of a relay into a file, as they are received (`docs/recordings.md`).
//!
//! The file is a sequence of whole zstd frames, one per second or per `CHUNK_BYTES`. So a crash at
//! any time loses at most the last zstd frame, and a recording can be continued.

mod file;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use skytide_core::id::Cursor;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use file::{Found, RecordFileError};

use crate::assemble::{Position, seq_of};
use crate::source::{Input, Raw, Source, SourceError};
use file::RecordFile;

/// Size of the buffered frames, in bytes, at which they are written before [`FLUSH_INTERVAL`] has
/// passed.
const CHUNK_BYTES: usize = 4 << 20;
/// The longest time for which a frame is buffered before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// After a lost connection, a relay may repeat frames. A frame is skipped as repeated if its `seq`
/// is at most this much lower than the newest one.
const REPEATED_MAX: u64 = 10_000;

/// The file to record into, and when to stop.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// The file. An existing recording is continued.
    pub file: PathBuf,
    /// Stop when the file holds this many frames.
    pub frames: Option<u64>,
    /// Stop after this long.
    pub duration: Option<Duration>,
}

/// The progress of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The content of the file before this run.
    pub found: Found,
    /// Durable frames that this run wrote.
    pub frames: u64,
    /// Bytes of these frames.
    pub frame_bytes: u64,
    /// Messages that cannot be recorded: text, or too large.
    pub left_out: u64,
    /// The `seq` of the newest frame in the file.
    pub cursor: Option<Cursor>,
}

/// An error that stopped recording. Everything that was written before is intact.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The relay cannot be read.
    #[error("could not read the relay")]
    Source(#[from] SourceError),
    /// The file cannot be written.
    #[error("could not write the recording")]
    File(#[from] RecordFileError),
}

/// Records until the limits of `options` are reached or `stop` is cancelled. `progress` is called
/// after each write.
///
/// # Errors
/// The file cannot be written or continued, or the source cannot be read further.
pub async fn record(
    options: RecordOptions,
    source: &mut dyn Source,
    stop: CancellationToken,
    progress: &(dyn Fn(&Recorded) + Send + Sync),
) -> Result<Recorded, RecordError> {
    let path = options.file.clone();
    let file = blocking(move || RecordFile::open(&path)).await?;
    let found = file.found();
    let mut recording = Recording {
        file: Some(file),
        chunk: Vec::new(),
        chunk_frames: 0,
        chunk_started: Instant::now(),
        newest: found.cursor,
        frames_max: options.frames.unwrap_or(u64::MAX),
        recorded: Recorded {
            found,
            cursor: found.cursor,
            ..Recorded::default()
        },
    };
    source.seek(recording.position(), 0);
    let end = options.duration.map(|duration| Instant::now() + duration);
    while !recording.is_complete() {
        let input = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = deadline(end) => break,
            () = sleep_until(recording.chunk_started + FLUSH_INTERVAL),
                if !recording.chunk.is_empty() => None,
            input = source.next() => Some(input?),
        };
        match input {
            Some(Input::Batch(batch)) => {
                batch.into_iter().for_each(|raw| recording.add_message(raw));
            }
            Some(Input::Disconnected | Input::Unavailable) => source.seek(recording.position(), 0),
            Some(Input::Connected) => {}
            Some(Input::Stuck(why)) => warn!(why, "reading is stuck"),
            Some(Input::End) => break,
            None => recording.write_chunk(progress).await?,
        }
        if recording.chunk.len() >= CHUNK_BYTES {
            recording.write_chunk(progress).await?;
        }
    }
    recording.write_chunk(progress).await?;
    Ok(recording.recorded)
}

async fn deadline(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

struct Recording {
    /// `None` only during a write.
    file: Option<RecordFile>,
    chunk: Vec<u8>,
    chunk_frames: u64,
    chunk_started: Instant,
    newest: Option<Cursor>,
    frames_max: u64,
    recorded: Recorded,
}

impl Recording {
    fn position(&self) -> Position {
        Position {
            cursor: self.newest,
            frames: self.frames(),
        }
    }

    fn frames(&self) -> u64 {
        self.recorded.found.frames + self.recorded.frames + self.chunk_frames
    }

    fn is_complete(&self) -> bool {
        self.frames() >= self.frames_max
    }

    fn add_message(&mut self, raw: Raw) {
        match raw {
            _ if self.is_complete() => {}
            Raw::Binary(bytes) | Raw::Past(bytes) => self.add_frame(&bytes),
            Raw::Text(_) | Raw::Oversized => self.recorded.left_out += 1,
        }
    }

    fn add_frame(&mut self, bytes: &Bytes) {
        let seq = seq_of(bytes);
        if let (Some(seq), Some(newest)) = (seq, self.newest)
            && seq <= newest
            && newest.0 - seq.0 < REPEATED_MAX
        {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk_started = Instant::now();
        }
        self.newest = seq.or(self.newest);
        self.chunk.extend((bytes.len() as u32).to_be_bytes());
        self.chunk.extend(bytes);
        self.chunk_frames += 1;
    }

    /// Writes the buffered frames and makes them durable.
    async fn write_chunk(
        &mut self,
        progress: &(dyn Fn(&Recorded) + Send + Sync),
    ) -> Result<(), RecordFileError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        let frames = std::mem::take(&mut self.chunk_frames);
        let mut file = self.file.take().expect("it is put back below");
        let chunk_bytes = chunk.len() as u64;
        let file = blocking(move || file.append(&chunk).map(|()| file)).await?;
        self.file = Some(file);
        self.recorded.frames += frames;
        self.recorded.frame_bytes += chunk_bytes - 4 * frames;
        self.recorded.cursor = self.newest;
        progress(&self.recorded);
        Ok(())
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordFileError> + Send + 'static,
) -> Result<T, RecordFileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
