//! Recording a relay: its frames, as they come, into a file (`docs/recordings.md`).
//!
//! The file is a row of whole zstd frames, one for each second or `CHUNK_BYTES`, so that a crash at any moment
//! loses no more than the last of them, and a recording can be gone on with.

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

/// Bytes of frames after which they are written without waiting for the second to end.
const CHUNK_BYTES: usize = 4 << 20;
/// How long a frame may wait before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// A relay may send again this far back after a connection was lost; such frames are left out.
const REPEATED_MAX: u64 = 10_000;

/// What to record.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Where to. A file that is there is gone on with.
    pub file: PathBuf,
    /// End when the file has so many frames.
    pub frames: Option<u64>,
    /// End after so long.
    pub duration: Option<Duration>,
}

/// How far a recording came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// What the file held before.
    pub found: Found,
    /// Frames written by this run, durable.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Messages that cannot be recorded: text, or too large.
    pub left_out: u64,
    /// The number of the newest frame in the file.
    pub cursor: Option<Cursor>,
}

/// Why recording ended against its will. What was written before is whole.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The relay cannot be read.
    #[error("the relay cannot be recorded")]
    Source(#[from] SourceError),
    /// The file cannot be used.
    #[error("the recording cannot be written")]
    File(#[from] RecordFileError),
}

/// Records until there is is_complete, or `stop`. `progress` is called after each write.
///
/// # Errors
/// The file cannot be written or gone on with, or the source can be read no further.
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
            () = sleep_until(recording.chunk_started + FLUSH_INTERVAL), if !recording.chunk.is_empty() => None,
            input = source.next() => Some(input?),
        };
        match input {
            Some(Input::Batch(batch)) => {
                batch.into_iter().for_each(|raw| recording.add_message(raw))
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
    /// Absent only while it is being written to.
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

    /// Makes what came durable.
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

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordFileError> + Send + 'static,
) -> Result<T, RecordFileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
