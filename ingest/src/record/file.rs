//! The file of a recording that is being made.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use skytide_core::id::Cursor;

use crate::assemble::seq_of;
use crate::source::RecordingError;
use crate::source::format::{ByteOrder, PREFIX};
use crate::source::recording_file;

/// zstd's own default: a third of the size at several hundred MB a second.
const LEVEL: i32 = 3;
/// Bytes of frames behind the last keep_bytes place that are written again when a recording is gone on with.
const REWRITE_BYTES_MAX: usize = 256 << 20;

/// What a file held already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole frames.
    pub frames: u64,
    /// The number of the last one that has one.
    pub cursor: Option<Cursor>,
    /// Bytes of the file that belonged to no whole frame, and were cut off.
    pub cut_bytes: u64,
}

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordFileError {
    /// The file could not be read or written.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// What was tried, as `open`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It is there and no regular file, or stands for standard output: what is written is synced, and may be continued.
    #[error(
        "{} is no file: a recording is synced to a disk and may be continued there, so it goes to a file \
         (./- for one of that name)",
        .0.display()
    )]
    NoFile(PathBuf),
    /// Another process records into the file.
    #[error("another process records into {}", .0.display())]
    Held(PathBuf),
    /// The file is there and is no recording.
    #[error("the file cannot be gone on with")]
    NotARecording(#[from] RecordingError),
    /// The file is a recording of another form than ours.
    #[error("{} is not a zstd file with big-endian lengths: choose another name", .0.display())]
    OtherForm(PathBuf),
    /// The file is cut short within a zstd frame so large that its beginning is not rewritten.
    #[error("{} is cut short within one large zstd frame: choose another name", .0.display())]
    CutTooLarge(PathBuf),
}

/// A recording that is written to, held against other processes.
pub(super) struct RecordFile {
    path: PathBuf,
    file: File,
    found: Found,
}

impl RecordFile {
    /// Makes a new file, or opens one that is there and cuts it to its whole frames.
    pub(super) fn open(path: &Path) -> Result<Self, RecordFileError> {
        let is_other = std::fs::metadata(path).is_ok_and(|about| !about.is_file());
        if is_other || path == Path::new("-") {
            return Err(RecordFileError::NoFile(path.to_owned()));
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

    /// What the file held when it was opened.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Appends frames, each behind its length, as one zstd frame, and waits until they are durable.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<(), RecordFileError> {
        let compressed = compress(frames).map_err(failed("compress", &self.path))?;
        let write = |file: &mut File| {
            file.write_all(&compressed)?;
            file.sync_data()
        };
        write(&mut self.file).map_err(failed("write", &self.path))
    }

    /// Finds the whole frames, cuts off what lies behind them, and stands at the end.
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
            Ok(_) => return Err(RecordFileError::OtherForm(self.path.clone())),
            // Killed within its first second: nothing whole, but ours.
            Err(error) if error.is_truncated() => {}
            Err(error) => return Err(error.into()),
        }
        let scan = Scan::of(&self.file).map_err(failed("read", &self.path))?;
        if scan.rewrite_overflow {
            return Err(RecordFileError::CutTooLarge(self.path.clone()));
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

/// What a file holds, and up to where it can stay as it is.
#[derive(Debug, Default)]
struct Scan {
    frames: u64,
    cursor: Option<Cursor>,
    /// Where a zstd frame ends together with a frame: up to here the file stays.
    keep_bytes: u64,
    /// The whole frames behind that, each behind its length.
    rewrite: Vec<u8>,
    /// There are more of them than are kept.
    rewrite_overflow: bool,
    /// The beginning of a frame.
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

    /// Reads one zstd frame; false: it is not whole.
    fn zstd_frame(&mut self, input: &mut CountingReader<'_>) -> io::Result<bool> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(27)?;
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
                Err(_damaged) => return Ok(false),
            }
        }
    }

    /// Takes decompressed bytes; false: a length is none.
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

/// Counts what is taken from a file.
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
