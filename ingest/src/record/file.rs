//! The file of a recording in progress.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use skytide_core::id::Cursor;

use crate::assemble::seq_of;
use crate::source::RecordingError;
use crate::source::format::{ByteOrder, PREFIX};
use crate::source::{WINDOW_LOG_MAX, recording_file};

/// The default level of zstd: a third of the size, at several hundred MB/s.
const LEVEL: i32 = 3;
/// Largest size of frames that are rewritten when a recording is continued: the relay's frames
/// after the last offset at which both a zstd frame and a frame of the relay end.
const REWRITE_BYTES_MAX: usize = 256 << 20;

/// The content of a file when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole frames.
    pub frames: u64,
    /// The `seq` of the last frame that has one.
    pub cursor: Option<Cursor>,
    /// Bytes after the last whole frame, which were truncated.
    pub cut_bytes: u64,
}

/// An error of a recording's file.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// The file could not be read or written.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// The operation, such as `open`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The path is not a regular file, or is `-` for standard output. A recording is synced and may
    /// be continued, so it needs a regular file.
    #[error(
        "{} is not a regular file: a recording is synced and may be continued, \
         so name a regular file (./- for a file named -)",
        .0.display()
    )]
    NotRegularFile(PathBuf),
    /// Another process records into the file.
    #[error("another process records into {}", .0.display())]
    Held(PathBuf),
    /// The file exists and is not a recording.
    #[error("cannot continue the file")]
    NotARecording(#[from] RecordingError),
    /// The file is a recording in another format than `skytide record` writes.
    #[error(
        "cannot continue {}, which is not a zstd file with big-endian lengths: choose another name",
        .0.display()
    )]
    OtherFormat(PathBuf),
    /// The file is truncated within a zstd frame that is too large to be rewritten.
    #[error(
        "cannot continue {}, which is truncated within one large zstd frame: choose another name",
        .0.display()
    )]
    RewriteTooLarge(PathBuf),
}

/// A recording that is being written. A lock excludes other processes.
pub(super) struct RecordFile {
    path: PathBuf,
    file: File,
    found: Found,
}

impl RecordFile {
    /// Creates a file, or opens an existing one and truncates it after its last whole frame.
    pub(super) fn open(path: &Path) -> Result<Self, RecordFileError> {
        let is_other = std::fs::metadata(path).is_ok_and(|about| !about.is_file());
        if is_other || path == Path::new("-") {
            return Err(RecordFileError::NotRegularFile(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(failed("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecordFileError::Held(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        let mut recording = Self {
            path: path.to_owned(),
            file,
            found: Found::default(),
        };
        recording.resume()?;
        Ok(recording)
    }

    /// The content of the file when it was opened.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Appends frames, each preceded by its length, as one zstd frame, and waits until they are
    /// durable.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<(), RecordFileError> {
        let compressed = compress(frames).map_err(failed("compress", &self.path))?;
        let write = |file: &mut File| {
            file.write_all(&compressed)?;
            file.sync_data()
        };
        write(&mut self.file).map_err(failed("write", &self.path))
    }

    /// Scans the whole frames, truncates the bytes after them, and seeks to the end.
    fn resume(&mut self) -> Result<(), RecordFileError> {
        let length = self
            .file
            .metadata()
            .map_err(failed("read", &self.path))?
            .len();
        if length == 0 {
            return Ok(());
        }
        let form = recording_file(&self.path).map(|file| (file.compressed(), file.order()));
        match form {
            Ok((true, ByteOrder::Big)) => {}
            Ok(_) => return Err(RecordFileError::OtherFormat(self.path.clone())),
            // A recorder was killed in its first second: the file is a recording without a whole
            // frame.
            Err(error) if error.is_truncated() => {}
            Err(error) => return Err(error.into()),
        }
        let scan = Scan::of(&self.file).map_err(failed("read", &self.path))?;
        if scan.rewrite_overflow {
            return Err(RecordFileError::RewriteTooLarge(self.path.clone()));
        }
        let truncate = |file: &mut File| {
            file.set_len(scan.keep_bytes)?;
            file.seek(SeekFrom::End(0))
        };
        truncate(&mut self.file).map_err(failed("truncate", &self.path))?;
        if !scan.rewrite.is_empty() {
            self.append(&scan.rewrite)?;
        }
        let now = self
            .file
            .metadata()
            .map_err(failed("read", &self.path))?
            .len();
        self.found = Found {
            frames: scan.frames,
            cursor: scan.cursor,
            cut_bytes: length.saturating_sub(now),
        };
        Ok(())
    }
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RecordFileError + 'a {
    move |source| RecordFileError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn compress(frames: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(frames.len() as u64))?;
    encoder.write_all(frames)?;
    encoder.finish()
}

/// The content of a file, and the offset up to which it stays unchanged.
#[derive(Debug, Default)]
struct Scan {
    frames: u64,
    cursor: Option<Cursor>,
    /// The last offset at which both a zstd frame and a frame of the relay end. The file stays
    /// unchanged up to here.
    keep_bytes: u64,
    /// The whole frames after that offset, each preceded by its length.
    rewrite: Vec<u8>,
    /// Whether these frames are larger than [`REWRITE_BYTES_MAX`].
    rewrite_overflow: bool,
    /// The start of a frame whose end was not read yet.
    partial: Vec<u8>,
}

impl Scan {
    fn of(file: &File) -> io::Result<Self> {
        let mut scan = Self::default();
        let mut input = CountingReader {
            inner: BufReader::new(file),
            consumed: 0,
        };
        input.inner.rewind()?;
        while !input.fill_buf()?.is_empty() {
            if !scan.zstd_frame(&mut input)? {
                return Ok(scan);
            }
            if scan.partial.is_empty() {
                scan.keep_bytes = input.consumed;
                scan.rewrite.clear();
                scan.rewrite_overflow = false;
            }
        }
        Ok(scan)
    }

    /// Reads one zstd frame. Returns false if it is incomplete.
    fn zstd_frame(&mut self, input: &mut CountingReader<'_>) -> io::Result<bool> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(read) => {
                    if !self.scan_bytes(&buffer[..read]) {
                        return Ok(false);
                    }
                }
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                // An error of zstd: the frame is incomplete or damaged.
                Err(_) => return Ok(false),
            }
        }
    }

    /// Scans decompressed bytes. Returns false at an invalid length.
    fn scan_bytes(&mut self, bytes: &[u8]) -> bool {
        self.partial.extend(bytes);
        let mut start = 0;
        while let Some(prefix) = self.partial[start..].first_chunk::<PREFIX>() {
            let Some(length) = ByteOrder::Big.length(*prefix) else {
                return false;
            };
            let end = start + PREFIX + length;
            let Some(frame) = self.partial.get(start + PREFIX..end) else {
                break;
            };
            self.frames += 1;
            self.cursor = seq_of(frame).or(self.cursor);
            start = end;
        }
        if self.rewrite.len() + start > REWRITE_BYTES_MAX {
            self.rewrite_overflow = true;
        } else {
            self.rewrite.extend(&self.partial[..start]);
        }
        self.partial.drain(..start);
        true
    }
}

/// Counts the bytes that are consumed of a file.
struct CountingReader<'a> {
    inner: BufReader<&'a File>,
    consumed: u64,
}

impl Read for CountingReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.consumed += read as u64;
        Ok(read)
    }
}

impl BufRead for CountingReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
        self.consumed += length as u64;
    }
}
