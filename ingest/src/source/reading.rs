//! Reads recordings as one stream of frames. Each file is read once and from its start, so it may
//! be a pipe. Reading blocks, so it runs on a thread of its own.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::format::{ByteOrder, HEAD_BYTES, PREFIX, is_frame};
use super::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Raw, RecordingError, RecordingProblem};
use crate::frame::FRAME_BYTES_MAX;

/// Bytes per read.
const CHUNK: usize = 512 << 10;
/// Bytes at the start of a file that show whether it is compressed.
const MAGIC_BYTES: usize = 4;
/// The largest zstd window: 128 MiB, as `zstd --long=27` uses.
pub(crate) const WINDOW_LOG_MAX: u32 = 27;

/// Reads several files as one stream, in order.
pub(super) struct RecordingReader {
    files: VecDeque<PathBuf>,
    current: Option<RecordingFile>,
    /// Frames that were peeked, and the error after them.
    peeked: VecDeque<Raw>,
    peeked_error: Option<RecordingError>,
    /// The error that ended the last batch. The next call returns it.
    stopped: Option<RecordingError>,
    read_bytes: Arc<AtomicU64>,
}

impl RecordingReader {
    /// Starts at the first file. `read_bytes` counts the bytes read from the files.
    pub(super) fn new(files: &[PathBuf], read_bytes: Arc<AtomicU64>) -> Self {
        Self {
            files: files.iter().cloned().collect(),
            current: None,
            peeked: VecDeque::new(),
            peeked_error: None,
            stopped: None,
            read_bytes,
        }
    }

    /// Returns the next frames without consuming them, at most `frames`. There are fewer if the
    /// stream ends or is damaged after them.
    pub(super) fn peek(&mut self, frames: usize) -> Result<&VecDeque<Raw>, RecordingError> {
        while self.peeked.len() < frames && self.peeked_error.is_none() {
            match self.read() {
                Ok(Some(raw)) => self.peeked.push_back(raw),
                Ok(None) => break,
                Err(error) if error.may_have_frames_before() => self.peeked_error = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(&self.peeked)
    }

    /// Whether the last [`RecordingReader::peek`] found neither frames nor an error.
    pub(super) fn is_empty(&self) -> bool {
        self.peeked.is_empty() && self.peeked_error.is_none()
    }

    /// The next frames. Empty if the stream ended.
    pub(super) fn batch(&mut self) -> Result<Vec<Raw>, RecordingError> {
        if let Some(error) = self.stopped.take() {
            return Err(error);
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            match self.next() {
                Ok(Some(raw)) => {
                    bytes += raw.len();
                    batch.push(raw);
                }
                Ok(None) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => {
                    self.stopped = Some(error);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// The next frame of the stream; `None` if the stream ended.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, RecordingError> {
        if let Some(raw) = self.peeked.pop_front() {
            return Ok(Some(raw));
        }
        match self.peeked_error.take() {
            Some(error) => Err(error),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Option<Raw>, RecordingError> {
        loop {
            if let Some(file) = &mut self.current
                && let Some(raw) = file.next()?
            {
                return Ok(Some(raw));
            }
            let Some(path) = self.files.pop_front() else {
                return Ok(None);
            };
            self.current = Some(RecordingFile::open(&path, self.read_bytes.clone())?);
        }
    }
}

/// One recording.
pub(crate) struct RecordingFile {
    path: PathBuf,
    stream: Box<dyn Read + Send>,
    compressed: bool,
    file_bytes: Arc<AtomicU64>,
    order: ByteOrder,
    buffer: BytesMut,
    /// The offset of `buffer` in the decompressed stream.
    offset: u64,
    /// The error that ended reading.
    ended: Option<RecordingProblem>,
    eof: bool,
}

impl RecordingFile {
    /// Opens a file and detects its format. `read_bytes` counts the bytes read.
    pub(crate) fn open(path: &Path, read_bytes: Arc<AtomicU64>) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::new(path, 0, RecordingProblem::Io(source));
        let mut input: Box<dyn Read + Send> = match is_standard_input(path) {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(failed)?),
        };
        // A pipe may return these bytes one by one.
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        let mut first = input.by_ref().take(MAGIC_BYTES as u64);
        first.read_to_end(&mut magic).map_err(failed)?;
        let compressed = is_zstd(&magic);
        let file_bytes = Arc::new(AtomicU64::new(0));
        let counting = CountingReader {
            inner: BufReader::with_capacity(CHUNK, Box::new(Cursor::new(magic).chain(input))),
            counters: [file_bytes.clone(), read_bytes],
        };
        let stream: Box<dyn Read + Send> = if compressed {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(counting).map_err(failed)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
            Box::new(decoder)
        } else {
            Box::new(counting)
        };
        let mut recording = Self {
            path: path.to_owned(),
            stream,
            compressed,
            file_bytes,
            order: ByteOrder::Big,
            buffer: BytesMut::new(),
            offset: 0,
            ended: None,
            eof: false,
        };
        recording.fill(HEAD_BYTES);
        let head = &recording.buffer[..recording.buffer.len().min(HEAD_BYTES)];
        match ByteOrder::detect(head) {
            Some(order) => recording.order = order,
            None if head.is_empty() => {}
            None if recording.ended.is_some() => return Err(recording.end_error()),
            None => return Err(recording.error_here(RecordingProblem::Foreign)),
        }
        Ok(recording)
    }

    /// The byte order of its lengths.
    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    /// Whether it is compressed by zstd.
    pub(crate) fn compressed(&self) -> bool {
        self.compressed
    }

    /// The next whole frame; `None` if the file ends after a frame.
    ///
    /// Bytes that are no valid frame are also returned, so that the drop is counted, unless the
    /// length after them is invalid too: then the length before them is damaged. The last frame of
    /// a file, which no whole length follows, is always returned.
    pub(crate) fn next(&mut self) -> Result<Option<Raw>, RecordingError> {
        if !self.fill(PREFIX) {
            let clean = self.buffer.is_empty() && self.ended.is_none();
            return if clean {
                Ok(None)
            } else {
                Err(self.end_error())
            };
        }
        let prefix = self.prefix(0);
        let Some(length) = self.order.length(prefix) else {
            return Err(self.error_here(RecordingProblem::Length));
        };
        let end = PREFIX + length;
        if !self.fill(end + PREFIX) && self.buffer.len() < end {
            return Err(self.end_error());
        }
        let has_next_length = self.buffer.len() >= end + PREFIX;
        if has_next_length
            && self.order.length(self.prefix(end)).is_none()
            && !is_frame(&self.buffer[PREFIX..end])
        {
            return Err(self.error_here(RecordingProblem::Length));
        }
        let frame: Bytes = self.buffer.split_to(end).split_off(PREFIX).freeze();
        self.offset += end as u64;
        let oversized = length > FRAME_BYTES_MAX;
        Ok(Some(if oversized {
            Raw::Oversized
        } else {
            Raw::Binary(frame)
        }))
    }

    fn prefix(&self, at: usize) -> [u8; PREFIX] {
        std::array::from_fn(|i| self.buffer[at + i])
    }

    /// Reads until the buffer holds this many bytes. Returns false if the stream has fewer.
    fn fill(&mut self, bytes: usize) -> bool {
        while self.buffer.len() < bytes && !self.eof {
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK.max(bytes - filled), 0);
            let read = self.stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.eof = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.eof = true;
                    self.ended = Some(RecordingProblem::of(error));
                }
            }
        }
        self.buffer.len() >= bytes
    }

    /// The error for a stream that ends within a frame: why reading ended or, at the end of the
    /// file, that the file is truncated.
    fn end_error(&mut self) -> RecordingError {
        let problem = self.ended.take().unwrap_or(RecordingProblem::Truncated);
        self.error_here(problem)
    }

    /// An error at the start of the current frame.
    fn error_here(&self, problem: RecordingProblem) -> RecordingError {
        let mut error = RecordingError::new(&self.path, self.offset, problem);
        if self.compressed {
            error.compressed_offset = Some(self.file_bytes.load(Ordering::Relaxed));
        }
        error
    }
}

/// Whether a recording is read from standard input. `/dev/stdin` is read as the open descriptor,
/// too, because it cannot be opened again if it is a socket.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// Whether these first bytes are those of a zstd file: of a frame or a skippable frame (RFC 8878,
/// 3.1).
pub(crate) fn is_zstd(head: &[u8]) -> bool {
    matches!(
        head,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    )
}

/// Counts the bytes read from a file.
struct CountingReader {
    inner: BufReader<Box<dyn Read + Send>>,
    counters: [Arc<AtomicU64>; 2],
}

impl Read for CountingReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for CountingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
        for counter in &self.counters {
            counter.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}
