//! Archives of files with a bounded size: `.tar.gz`.
//!
//! Each file is a member of its own in the gzip stream, which the format allows
//! (<https://www.rfc-editor.org/rfc/rfc1952#section-2.2>). So the size of the archive is the sum of
//! the sizes of its files, and whether another file fits is known before it is added.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use skytide_core::time::Timestamp;

/// Size of the blocks of a tar file, in bytes.
const BLOCK_BYTES: usize = 512;
/// The compression level of gzip.
const LEVEL: Compression = Compression::new(6);
/// Maximum size of a file that is read from an archive, and of all files together, in bytes.
const READ_BYTES_MAX: u64 = 256 << 20;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the archive, with `/` between the names.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl Entry {
    /// A file with this path and content.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: content.into(),
        }
    }
}

/// Files that were left out of a part before they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Their number.
    pub files: usize,
    /// Their bytes, before compression, with colours and before secrets are replaced.
    pub bytes: usize,
}

/// An archive that is being written. It never becomes larger than its bound.
pub struct Archive {
    members: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    end: Vec<u8>,
    at: Timestamp,
    cut: Vec<Cut>,
}

/// What was left out of a part of an archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cut {
    /// The part.
    pub part: String,
    /// Files that are in the archive.
    pub kept_files: usize,
    /// Files that were left out, because the part would have become too large.
    pub cut_files: usize,
    /// Bytes of the files that were left out, before compression.
    pub cut_bytes: usize,
}

impl Archive {
    /// An empty archive of at most `bytes_max` bytes, whose files have this time.
    pub fn new(bytes_max: usize, at: Timestamp) -> Self {
        let end = compressed(&[0; 2 * BLOCK_BYTES]);
        Self {
            members: Vec::new(),
            bytes: end.len(),
            bytes_max,
            end,
            at,
            cut: Vec::new(),
        }
    }

    /// Adds a file if it fits, and returns whether it did.
    pub fn add(&mut self, entry: &Entry) -> bool {
        let member = member(entry, self.at);
        let fits = self.bytes + member.len() <= self.bytes_max;
        if fits {
            self.bytes += member.len();
            self.members.push(member);
        }
        fits
    }

    /// Adds the files of a part, most important first, until the part has `part_bytes_max` bytes or
    /// the archive is full. Records what was left out.
    pub fn add_part(&mut self, part: &str, part_bytes_max: usize, entries: &[Entry]) {
        let before = self.bytes;
        let limit = self.bytes_max.min(before + part_bytes_max);
        let mut kept = 0;
        for entry in entries {
            let member = member(entry, self.at);
            if self.bytes + member.len() > limit {
                break;
            }
            self.bytes += member.len();
            self.members.push(member);
            kept += 1;
        }
        let left_out = &entries[kept..];
        self.cut.push(Cut {
            part: part.to_owned(),
            kept_files: kept,
            cut_files: left_out.len(),
            cut_bytes: left_out.iter().map(|entry| entry.content.len()).sum(),
        });
    }

    /// Records that these files of the newest part were left out as well.
    pub fn left_out(&mut self, left_out: LeftOut) {
        if let Some(newest) = self.cut.last_mut() {
            newest.cut_files += left_out.files;
            newest.cut_bytes += left_out.bytes;
        }
    }

    /// The parts so far, with what was left out of them.
    pub fn parts(&self) -> &[Cut] {
        &self.cut
    }

    /// The same archive with another bound, which must not be lower.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// Bytes that are free.
    pub fn room(&self) -> usize {
        self.bytes_max - self.bytes
    }

    /// The bytes of the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.members.push(self.end);
        self.members.concat()
    }
}

/// A file as a member of the gzip stream.
fn member(entry: &Entry, at: Timestamp) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    // A path that does not fit into the header is shortened at its start.
    if header.set_path(&entry.path).is_err() {
        let start = entry
            .path
            .ceil_char_boundary(entry.path.len().saturating_sub(90));
        let shortened = entry.path[start..].trim_start_matches('/');
        let _fits = header.set_path(shortened);
    }
    header.set_size(entry.content.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(at.0 / 1_000);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(&entry.content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    compressed(&bytes)
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to a vector cannot fail")
}

/// The files of an archive.
///
/// # Errors
/// The bytes are not such an archive, or it is too large.
pub fn read(bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(bytes).take(READ_BYTES_MAX));
    let entries = archive.entries()?;
    let entries = entries.map(|entry| {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        Ok(Entry { path, content })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    /// Bytes that do not compress.
    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[test]
    fn an_archive_never_exceeds_its_bound_and_says_what_was_cut() {
        const BYTES_MAX: usize = 50_000;
        let mut archive = Archive::new(BYTES_MAX, NOW);
        let files: Vec<Entry> = (0..40_u32)
            .map(|number| Entry::new(format!("a/{number}"), noise(1_000, number.into())))
            .collect();
        archive.add_part("a", 10_000, &files);
        archive.add_part("b", 1_000_000, &files);
        assert!(!archive.add(&Entry::new("c", noise(BYTES_MAX, 3))));
        let [a, b] = archive.parts() else {
            panic!("two parts");
        };
        assert!((1..10).contains(&a.kept_files), "{a:?}");
        assert_eq!(a.kept_files + a.cut_files, 40);
        assert_eq!(a.cut_bytes, 1_000 * a.cut_files);
        let kept = a.kept_files + b.kept_files;
        assert!(b.cut_files > 0, "{b:?}");
        let bytes = archive.finish();
        assert!(bytes.len() <= BYTES_MAX, "{}", bytes.len());
        let read = read(&bytes).expect("an archive");
        assert_eq!(read.len(), kept);
        assert!(read[0] == files[0]);
    }

    #[test]
    fn tar_lists_the_archive() {
        let mut archive = Archive::new(1 << 20, NOW);
        assert!(archive.add(&Entry::new("one/first.txt", "1")));
        assert!(archive.add(&Entry::new("second.txt", vec![b'2'; 700])));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar.gz");
        std::fs::write(&path, archive.finish()).expect("written");
        let listed = std::process::Command::new("tar")
            .arg("-tzf")
            .arg(&path)
            .output();
        let Ok(listed) = listed else {
            eprintln!("skipped: there is no program tar");
            return;
        };
        assert!(listed.status.success(), "{listed:?}");
        assert_eq!(listed.stdout, b"one/first.txt\nsecond.txt\n");
    }
}
