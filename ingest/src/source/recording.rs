//! Recordings as a source.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use skytide_core::event::Host;
use tokio::sync::mpsc;

use super::reading::Reading;
use super::{Input, Raw, Source, SourceError};
use crate::assemble::Position;

/// Frames that tell which recording it is.
const IDENTITY_FRAMES: usize = 16;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

/// Several recordings, one stream.
///
/// Its name is `recording:` and 16 hexadecimal digits of the SHA-256 of its first 16 frames, each behind its
/// length: the same bytes elsewhere, compressed or not, in one file or several, are the same source.
pub struct RecordingSource {
    files: Vec<PathBuf>,
    host: Host,
    position: Position,
    lookback: u64,
    batches: Option<mpsc::Receiver<Result<Vec<Raw>, RecordingError>>>,
    total_bytes: u64,
    read_bytes: Arc<AtomicU64>,
}

impl RecordingSource {
    /// Opens recordings; reads their beginning. Blocks for a moment.
    ///
    /// # Errors
    /// A file is not there, not readable or not a recording.
    pub fn open(files: Vec<PathBuf>) -> Result<Self, RecordingError> {
        let mut total_bytes = 0;
        for path in &files {
            let failed = |source| RecordingError::new(path, 0, RecordingProblem::Io(source));
            total_bytes += std::fs::metadata(path).map_err(failed)?.len();
        }
        Ok(Self {
            host: identity(&files)?,
            files,
            position: Position::default(),
            lookback: 0,
            batches: None,
            total_bytes,
            read_bytes: Arc::default(),
        })
    }

    /// Begins to read ahead on a thread of its own, which ends with the receiver.
    fn read_ahead(&mut self) -> mpsc::Receiver<Result<Vec<Raw>, RecordingError>> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        self.read_bytes = Arc::default();
        let mut reading = Reading::new(&self.files, self.read_bytes.clone());
        let skip = Skip {
            frames: self.position.frames,
            lookback: self.lookback,
        };
        let name = self.files.first().cloned().unwrap_or_default();
        let work = move || {
            let past = skip.past(&mut reading, &name);
            let refused = past.is_err();
            let skipped = past.as_ref().is_ok_and(Vec::is_empty);
            if !skipped && (sender.blocking_send(past).is_err() || refused) {
                return;
            }
            loop {
                let batch = reading.batch();
                let over = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.blocking_send(batch).is_err() || over {
                    return;
                }
            }
        };
        // Not one of the runtime's threads: it may wait for a slow log as long as the replay takes.
        let builder = std::thread::Builder::new().name("recording".to_owned());
        builder
            .spawn(work)
            .expect("a process may have one more thread");
        receiver
    }
}

#[async_trait]
impl Source for RecordingSource {
    fn host(&self) -> &Host {
        &self.host
    }

    fn live(&self) -> bool {
        false
    }

    fn seek(&mut self, position: Position, lookback: u64) {
        self.position = position;
        self.lookback = lookback;
        self.batches = None;
    }

    async fn next(&mut self) -> Result<Input, SourceError> {
        if self.batches.is_none() {
            self.batches = Some(self.read_ahead());
        }
        let batches = self.batches.as_mut().expect("just begun");
        match batches.recv().await {
            Some(Ok(batch)) if batch.is_empty() => Ok(Input::End),
            Some(Ok(batch)) => Ok(Input::Batch(batch)),
            Some(Err(error)) => Err(error.into()),
            None => Ok(Input::End),
        }
    }

    fn extent(&self) -> (Option<u64>, u64) {
        let read = self.read_bytes.load(Ordering::Relaxed);
        (Some(self.total_bytes), read)
    }
}

fn identity(files: &[PathBuf]) -> Result<Host, RecordingError> {
    let mut reading = Reading::new(files, Arc::default());
    let mut hash = Context::new(&SHA256);
    for _ in 0..IDENTITY_FRAMES {
        match reading.next() {
            Ok(Some(Raw::Binary(frame) | Raw::Past(frame) | Raw::Text(frame))) => {
                hash.update(&(frame.len() as u32).to_be_bytes());
                hash.update(&frame);
            }
            Ok(Some(Raw::Oversized)) => hash.update(&u32::MAX.to_be_bytes()),
            Ok(None) => break,
            Err(error) if error.within_a_recording() => break,
            Err(error) => return Err(error),
        }
    }
    let digest = hash.finish();
    let digits = digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"));
    Ok(format!("recording:{}", digits.collect::<String>()).into())
}

/// Frames that were read before.
struct Skip {
    frames: u64,
    lookback: u64,
}

impl Skip {
    /// Reads them, and answers the last ones.
    fn past(&self, reading: &mut Reading, first: &Path) -> Result<Vec<Raw>, RecordingError> {
        let mut past = Vec::new();
        for found in 0..self.frames {
            match reading.next()? {
                Some(Raw::Binary(frame)) if self.frames - found <= self.lookback => {
                    past.push(Raw::Past(frame));
                }
                Some(_) => {}
                None => {
                    let wanted = self.frames;
                    let problem = RecordingProblem::Shorter { wanted, found };
                    return Err(RecordingError::new(first, 0, problem));
                }
            }
        }
        Ok(past)
    }
}

/// A recording cannot be read, or not further. All whole frames before that place were told.
#[derive(Debug)]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// Where in it the first frame begins that is not whole: of a compressed file, in its decompressed stream.
    pub offset: u64,
    /// Of a compressed file, how far it was read itself.
    pub compressed_offset: Option<u64>,
    /// What is wrong.
    pub problem: RecordingProblem,
}

/// What is wrong with a recording.
#[derive(Debug)]
pub enum RecordingProblem {
    /// It ends within a frame.
    Cut,
    /// A length cannot be one.
    Length,
    /// The compressed data are damaged.
    Compression(String),
    /// It is no recording.
    Foreign,
    /// More frames were read from it before than there are now.
    Shorter {
        /// How many were read before.
        wanted: u64,
        /// How many there are.
        found: u64,
    },
    /// The file cannot be read.
    Io(io::Error),
}

impl RecordingProblem {
    /// What an error while reading means: zstd's own ones have no number of the operating system.
    pub(super) fn of(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::UnexpectedEof, _) => Self::Cut,
            (_, None) => Self::Compression(error.to_string()),
            (_, Some(_)) => Self::Io(error),
        }
    }
}

impl RecordingError {
    pub(crate) fn new(path: &Path, offset: u64, problem: RecordingProblem) -> Self {
        Self {
            path: path.to_owned(),
            offset,
            compressed_offset: None,
            problem,
        }
    }

    /// Whether it is only that the end is missing.
    pub(crate) fn cut(&self) -> bool {
        matches!(self.problem, RecordingProblem::Cut)
    }

    /// Whether there may be whole frames before the error.
    fn within_a_recording(&self) -> bool {
        use RecordingProblem::{Compression, Cut, Length};
        matches!(self.problem, Cut | Length | Compression(_))
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, at) = (self.path.display(), self.offset);
        match &self.problem {
            RecordingProblem::Cut => write!(f, "{path} is cut short: the frame at byte {at}"),
            RecordingProblem::Length => write!(f, "{path} is damaged: the frame at byte {at}"),
            RecordingProblem::Compression(what) => {
                write!(f, "{path} is damaged ({what}): the frame at byte {at}")
            }
            RecordingProblem::Foreign => {
                return write!(f, "{path} is not a recording: byte 0 begins no frame");
            }
            RecordingProblem::Shorter { wanted, found } => {
                return write!(
                    f,
                    "{path} has {found} frames, but {wanted} were read before"
                );
            }
            RecordingProblem::Io(_) => return write!(f, "could not read {path} at byte {at}"),
        }?;
        match self.compressed_offset {
            Some(read) => write!(
                f,
                " of the decompressed stream is not whole (byte {read} of the file was reached)"
            ),
            None => write!(f, " is not whole"),
        }
    }
}

impl std::error::Error for RecordingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            RecordingProblem::Io(source) => Some(source),
            _ => None,
        }
    }
}
