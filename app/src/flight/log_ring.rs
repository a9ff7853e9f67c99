//! The newest log lines of this process, in bounded memory.
//!
//! ```text
//! line ─▶ open chunk ─ full ─▶ compressed chunk ─▶ ring; the oldest chunk is dropped when it is full
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::archive::LeftOut;

/// Size at which a chunk is compressed, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Maximum length of a line in bytes. A longer line is truncated.
const LINE_BYTES_MAX: usize = 16 << 10;
/// The end of a truncated line.
const TRUNCATED: &[u8] = b" [truncated]\n";
/// The compression level. Lines are compressed on the thread that logs, so speed counts.
const LEVEL: i32 = 1;

/// The newest log lines.
#[derive(Debug)]
pub struct LogRing {
    /// The chunks before the open one, oldest first.
    chunks: VecDeque<Arc<Chunk>>,
    open: Vec<u8>,
    open_lines: u64,
    /// Bytes of the chunks, without the open one.
    bytes: usize,
    bytes_max: usize,
    dropped_lines: u64,
}

#[derive(Debug)]
struct Chunk {
    compressed: Vec<u8>,
    raw_bytes: usize,
    lines: u64,
}

/// The lines of a ring at one time. They share the memory of the ring, so taking them is fast.
#[derive(Debug)]
pub struct LogSnapshot {
    /// Oldest first.
    chunks: Vec<Arc<Chunk>>,
    open: Vec<u8>,
}

impl LogSnapshot {
    /// The chunks of lines with their numbers, newest first, until they have `raw_bytes_max` bytes;
    /// and what was left out. A chunk that cannot be decompressed counts as left out.
    pub fn newest(self, raw_bytes_max: usize) -> (Vec<(usize, Vec<u8>)>, LeftOut) {
        let mut raw_bytes = self.open.len();
        let mut kept = Vec::new();
        if !self.open.is_empty() {
            kept.push((self.chunks.len(), self.open));
        }
        let mut left_out = LeftOut::default();
        for (number, chunk) in self.chunks.into_iter().enumerate().rev() {
            raw_bytes += chunk.raw_bytes;
            let text = (raw_bytes <= raw_bytes_max)
                .then(|| zstd::bulk::decompress(&chunk.compressed, chunk.raw_bytes));
            match text {
                Some(Ok(text)) => kept.push((number, text)),
                _ => {
                    left_out.files += 1;
                    left_out.bytes += chunk.raw_bytes;
                }
            }
        }
        (kept, left_out)
    }
}

impl LogRing {
    /// An empty ring that uses at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            open: Vec::new(),
            open_lines: 0,
            bytes: 0,
            bytes_max,
            dropped_lines: 0,
        }
    }

    /// Adds a line. Drops the oldest lines if there is no room for it.
    pub fn push(&mut self, line: &[u8]) {
        let chunk_bytes = CHUNK_BYTES.min(self.bytes_max / 4);
        let line_bytes_max = LINE_BYTES_MAX.min(chunk_bytes);
        if line.len() <= line_bytes_max {
            self.open.extend_from_slice(line);
        } else {
            self.open.extend_from_slice(&line[..line_bytes_max]);
            self.open.extend_from_slice(TRUNCATED);
        }
        self.open_lines += 1;
        if self.open.len() >= chunk_bytes {
            self.close_chunk();
        }
        // The open chunk has at most the bytes of a chunk and of a line.
        let reserved = chunk_bytes + line_bytes_max + TRUNCATED.len();
        while self.bytes + reserved > self.bytes_max {
            let Some(oldest) = self.chunks.pop_front() else {
                return;
            };
            self.bytes -= oldest.compressed.len();
            self.dropped_lines += oldest.lines;
        }
    }

    fn close_chunk(&mut self) {
        let lines = std::mem::take(&mut self.open_lines);
        match zstd::bulk::compress(&self.open, LEVEL) {
            Ok(compressed) => {
                self.bytes += compressed.len();
                self.chunks.push_back(Arc::new(Chunk {
                    compressed,
                    raw_bytes: self.open.len(),
                    lines,
                }));
            }
            Err(_) => self.dropped_lines += lines,
        }
        self.open.clear();
    }

    /// The lines, still compressed: every thread that logs waits for this.
    pub fn snapshot(&self) -> LogSnapshot {
        LogSnapshot {
            chunks: self.chunks.iter().cloned().collect(),
            open: self.open.clone(),
        }
    }

    /// The number of lines that were dropped to make room for newer ones.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped_lines
    }

    /// The number of lines.
    pub fn lines(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.lines).sum::<u64>() + self.open_lines
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.bytes + self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines, oldest first.
    fn text(ring: &LogRing) -> Vec<u8> {
        let (chunks, left_out) = ring.snapshot().newest(usize::MAX);
        assert_eq!(left_out, LeftOut::default());
        let chunks: Vec<Vec<u8>> = chunks.into_iter().rev().map(|it| it.1).collect();
        chunks.concat()
    }

    #[test]
    fn the_newest_lines_are_kept_within_the_bound() {
        const BYTES_MAX: usize = 400_000;
        let mut ring = LogRing::new(BYTES_MAX);
        let mut seed = 7_u64;
        let mut last = String::new();
        for number in 0..20_000_u64 {
            // Digits that compress badly.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(number);
            last = format!("{number} {seed:x}{:x}\n", seed.rotate_left(17));
            ring.push(last.as_bytes());
            assert!(ring.bytes() <= BYTES_MAX, "after line {number}");
        }
        let text = String::from_utf8(text(&ring)).expect("text");
        assert!(text.ends_with(&last));
        let first: u64 = text
            .split(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a number");
        assert_eq!(first, ring.dropped_lines());
        assert_eq!(text.lines().count() as u64 + ring.dropped_lines(), 20_000);
        assert!(first > 0, "the bound was not reached");
    }

    #[test]
    fn a_long_line_is_truncated() {
        let mut ring = LogRing::new(1 << 20);
        ring.push(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        let text = text(&ring);
        assert_eq!(text.len(), LINE_BYTES_MAX + TRUNCATED.len());
        assert!(text.ends_with(TRUNCATED));
    }

    #[test]
    fn lines_that_compress_well_are_read_up_to_a_bound() {
        const RAW_BYTES_MAX: usize = 10 * CHUNK_BYTES;
        let mut ring = LogRing::new(1 << 20);
        let line = [b'x'; 1_024];
        // 64 lines are a chunk.
        for _ in 0..100 * 64 + 1 {
            ring.push(&line);
        }
        let (chunks, left_out) = ring.snapshot().newest(RAW_BYTES_MAX);
        let numbers: Vec<usize> = chunks.iter().map(|it| it.0).collect();
        // The open chunk has one line, so nine others fit.
        assert_eq!(numbers, (91..=100).rev().collect::<Vec<usize>>());
        let raw: usize = chunks.iter().map(|it| it.1.len()).sum();
        assert_eq!(raw, 9 * CHUNK_BYTES + line.len());
        assert_eq!((left_out.files, left_out.bytes), (91, 91 * CHUNK_BYTES));
    }
}
