//! Recordings as a source.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use skytide_core::event::Host;
use tokio::sync::mpsc;

use super::reading::{RecordingReader, is_standard_input};
use super::{Input, Raw, Source, SourceError};
use crate::assemble::Position;

/// Frames that tell which recording it is.
const IDENTITY_FRAMES: usize = 16;
/// Batches read ahead.
const BATCHES_AHEAD: usize = 4;

/// Several recordings, one stream. Each is a file, or something that can be read only once: a pipe, a FIFO, standard input
/// (`-`). So the frames from which the name is known are kept, and are the first ones that are read.
///
/// Its name is `recording:` and 16 hexadecimal digits of the SHA-256 of its first 16 frames, each behind its
/// length: the same bytes elsewhere, compressed or not, in one file or several, are the same source.
pub struct RecordingSource {
    files: Vec<PathBuf>,
    host: Host,
    position: Position,
    lookback: u64,
    /// Opened at its beginning and not read yet.
    unread: Option<RecordingReader>,
    batches: Option<mpsc::Receiver<Result<Vec<Raw>, RecordingError>>>,
    /// `None`: at least one of them is no regular file.
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
}

impl RecordingSource {
    /// Opens recordings; reads their beginning. Blocks for a moment, or until the writer of a pipe has written it.
    ///
    /// # Errors
    /// A file is not there, not readable or not a recording.
    pub fn open(files: Vec<PathBuf>) -> Result<Self, RecordingError> {
        let total_bytes = total_bytes(&files)?;
        let read_bytes = Arc::default();
        let mut unread = RecordingReader::new(&files, Arc::clone(&read_bytes));
        let host = identity(&mut unread)?;
        if let Some(path) = files.iter().find(|path| !is_file(path))
            && unread.is_empty()
        {
            // A pipe does not say that the program before it failed.
            return Err(RecordingError::new(path, 0, RecordingProblem::Empty));
        }
        Ok(Self {
            host,
            files,
            position: Position::default(),
            lookback: 0,
            unread: Some(unread),
            batches: None,
            total_bytes,
            read_bytes,
        })
    }

    /// The recordings at their beginning.
    fn reader(&mut self) -> Result<RecordingReader, RecordingError> {
        if let Some(unread) = self.unread.take() {
            return Ok(unread);
        }
        if let Some(path) = self.files.iter().find(|path| !is_file(path)) {
            return Err(RecordingError::new(path, 0, RecordingProblem::Once));
        }
        self.read_bytes = Arc::default();
        Ok(RecordingReader::new(&self.files, self.read_bytes.clone()))
    }

    /// Begins to read ahead on a thread of its own, which ends with the receiver.
    fn read_ahead(
        &mut self,
    ) -> Result<mpsc::Receiver<Result<Vec<Raw>, RecordingError>>, RecordingError> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let mut reader = self.reader()?;
        let resume_point = ResumePoint {
            frames: self.position.frames,
            lookback: self.lookback,
        };
        let name = self.files.first().cloned().unwrap_or_default();
        let work = move || {
            let past = resume_point.skip_to(&mut reader, &name);
            let failed = past.is_err();
            let none_to_send = past.as_ref().is_ok_and(Vec::is_empty);
            if !none_to_send && (sender.blocking_send(past).is_err() || failed) {
                return;
            }
            loop {
                let batch = reader.batch();
                let is_last = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        };
        // Not one of the runtime's threads: it may wait for a slow log as long as the replay takes.
        let builder = std::thread::Builder::new().name("recording".to_owned());
        builder
            .spawn(work)
            .expect("a process may have one more thread");
        Ok(receiver)
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
            self.batches = Some(self.read_ahead()?);
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
        (self.total_bytes, read)
    }
}

/// Bytes of all files; `None` if one is no regular file.
fn total_bytes(files: &[PathBuf]) -> Result<Option<u64>, RecordingError> {
    let mut total = Some(0);
    let mut inputs = 0;
    for path in files {
        if is_standard_input(path) {
            inputs += 1;
            total = None;
            continue;
        }
        let failed = |source| RecordingError::new(path, 0, RecordingProblem::Io(source));
        let about = std::fs::metadata(path).map_err(failed)?;
        total = total
            .filter(|_| about.is_file())
            .map(|total| total + about.len());
    }
    let unusable = match inputs {
        0 => return Ok(total),
        1 if io::stdin().is_terminal() => RecordingProblem::Terminal,
        1 => return Ok(total),
        _ => RecordingProblem::Once,
    };
    Err(RecordingError::new(Path::new("-"), 0, unusable))
}

fn is_file(path: &Path) -> bool {
    !is_standard_input(path) && std::fs::metadata(path).is_ok_and(|about| about.is_file())
}

fn identity(reader: &mut RecordingReader) -> Result<Host, RecordingError> {
    let mut hash = Context::new(&SHA256);
    for frame in reader.peek(IDENTITY_FRAMES)? {
        match frame {
            Raw::Binary(frame) | Raw::Past(frame) | Raw::Text(frame) => {
                hash.update(&(frame.len() as u32).to_be_bytes());
                hash.update(frame);
            }
            Raw::Oversized => hash.update(&u32::MAX.to_be_bytes()),
        }
    }
    let digest = hash.finish();
    let digits = digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"));
    Ok(format!("recording:{}", digits.collect::<String>()).into())
}

/// Frames that were read before.
struct ResumePoint {
    frames: u64,
    lookback: u64,
}

impl ResumePoint {
    /// Reads them, and answers the last ones.
    fn skip_to(
        &self,
        reader: &mut RecordingReader,
        first: &Path,
    ) -> Result<Vec<Raw>, RecordingError> {
        let mut past = Vec::new();
        for found in 0..self.frames {
            match reader.next()? {
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
    /// It is a pipe or standard input, and nothing was written to it.
    Empty,
    /// It is a pipe or standard input, and would have to be read a second time.
    Once,
    /// It is standard input, and that is a terminal.
    Terminal,
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
    pub(crate) fn is_truncated(&self) -> bool {
        matches!(self.problem, RecordingProblem::Cut)
    }

    /// Whether there may be whole frames before the error.
    pub(super) fn may_follow_frames(&self) -> bool {
        use RecordingProblem::{Compression, Cut, Length};
        matches!(self.problem, Cut | Length | Compression(_))
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, at) = (display_name(&self.path), self.offset);
        match &self.problem {
            RecordingProblem::Cut => write!(f, "{path} is cut short: the frame at byte {at}"),
            RecordingProblem::Length => write!(f, "{path} is damaged: the frame at byte {at}"),
            RecordingProblem::Compression(what) => {
                write!(f, "{path} is damaged ({what}): the frame at byte {at}")
            }
            RecordingProblem::Foreign => {
                return write!(f, "{path} is not a recording: byte 0 begins no frame");
            }
            RecordingProblem::Empty => {
                return write!(
                    f,
                    "{path} holds no frame: did the program that writes it fail?"
                );
            }
            RecordingProblem::Once => {
                return write!(
                    f,
                    "{path} can be read only once: name it once, or record it to a file first"
                );
            }
            RecordingProblem::Terminal => {
                return write!(
                    f,
                    "{path} is a terminal: pipe a recording into it, or name a file"
                );
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

fn display_name(path: &Path) -> String {
    match is_standard_input(path) {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
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
