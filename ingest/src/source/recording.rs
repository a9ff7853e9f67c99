//! A source that reads recordings.

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

/// The number of first frames that identify a recording.
const IDENTITY_FRAMES: usize = 16;
/// The number of batches that are read ahead.
const BATCHES_AHEAD: usize = 4;

/// Several recordings as one stream. Each is a file, or an input that can be read only once: a
/// pipe, a FIFO or standard input (`-`). The frames that identify the stream are therefore buffered
/// until they are read.
///
/// The name is `recording:` and 16 hexadecimal digits of the SHA-256 of the first 16 frames, each
/// preceded by its length. So the same frames at another path, compressed or not, in one file or
/// several, are the same source.
pub struct RecordingSource {
    files: Vec<PathBuf>,
    host: Host,
    position: Position,
    lookback: u64,
    /// The reader that read the identifying frames, positioned at the start of the stream; `None`
    /// once the stream is being read.
    unread: Option<RecordingReader>,
    batches: Option<mpsc::Receiver<Result<Vec<Raw>, RecordingError>>>,
    /// `None` if at least one input is not a regular file.
    total_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
}

impl RecordingSource {
    /// Opens recordings and reads their first frames. Blocks until these are available: only
    /// shortly for a file, until they are written for a pipe.
    ///
    /// # Errors
    /// A file does not exist, cannot be read or is not a recording.
    pub fn open(files: Vec<PathBuf>) -> Result<Self, RecordingError> {
        let total_bytes = total_bytes(&files)?;
        let read_bytes = Arc::default();
        let mut unread = RecordingReader::new(&files, Arc::clone(&read_bytes));
        let host = identity(&mut unread)?;
        if let Some(path) = files.iter().find(|path| !is_file(path))
            && unread.is_empty()
        {
            // A pipe does not report that the program which writes it failed.
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

    /// A reader at the start of the recordings.
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

    /// Starts to read ahead on a thread of its own, which exits when the receiver is dropped.
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
        // A slow log may block this thread for the whole replay, so it is not one of the runtime's.
        let builder = std::thread::Builder::new().name("recording".to_owned());
        builder
            .spawn(work)
            .expect("the system allows one more thread");
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
        let batches = self.batches.as_mut().expect("it was just set");
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

/// Total bytes of all files; `None` if one is not a regular file.
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

/// The frames that were read before and are now skipped.
struct ResumePoint {
    frames: u64,
    lookback: u64,
}

impl ResumePoint {
    /// Skips the frames and returns the last `lookback` of them.
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

/// A recording cannot be read further. All whole frames before the error were returned.
#[derive(Debug)]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// The offset of the first incomplete frame; in the decompressed stream if the file is
    /// compressed.
    pub offset: u64,
    /// The offset in the file itself up to which it was read, if it is compressed.
    pub compressed_offset: Option<u64>,
    /// The problem.
    pub problem: RecordingProblem,
}

/// The problem of a recording.
#[derive(Debug)]
pub enum RecordingProblem {
    /// The file ends within a frame.
    Truncated,
    /// A length is not valid.
    Length,
    /// The compressed data are damaged.
    Compression(String),
    /// The file is not a recording.
    Foreign,
    /// The pipe or standard input is empty.
    Empty,
    /// The pipe or standard input would have to be read a second time.
    Once,
    /// Standard input is a terminal.
    Terminal,
    /// The recording has fewer frames than were read before.
    Shorter {
        /// The number of frames that were read before.
        wanted: u64,
        /// The number of frames that exist.
        found: u64,
    },
    /// The file cannot be read.
    Io(io::Error),
}

impl RecordingProblem {
    /// Classifies an error while reading: errors of zstd have no error number of the operating
    /// system.
    pub(super) fn of(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::UnexpectedEof, _) => Self::Truncated,
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

    /// Whether the file is only truncated.
    pub(crate) fn is_truncated(&self) -> bool {
        matches!(self.problem, RecordingProblem::Truncated)
    }

    /// Whether there may be whole frames before the error.
    pub(super) fn may_have_frames_before(&self) -> bool {
        use RecordingProblem::{Compression, Length, Truncated};
        matches!(self.problem, Truncated | Length | Compression(_))
    }
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, at) = (display_name(&self.path), self.offset);
        match &self.problem {
            RecordingProblem::Truncated => write!(f, "{path} is cut short: the frame at byte {at}"),
            RecordingProblem::Length => write!(f, "{path} is damaged: the frame at byte {at}"),
            RecordingProblem::Compression(what) => {
                write!(f, "{path} is damaged ({what}): the frame at byte {at}")
            }
            RecordingProblem::Foreign => {
                return write!(f, "{path} is not a recording: no frame starts at byte 0");
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
                    "{path} has {found} frames, but {wanted} were read before: \
                     replay the same files"
                );
            }
            RecordingProblem::Io(_) => return write!(f, "could not read {path} at byte {at}"),
        }?;
        match self.compressed_offset {
            Some(read) => write!(
                f,
                " of the decompressed stream is incomplete \
                 (reading reached byte {read} of the file)"
            ),
            None => write!(f, " is incomplete"),
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
