//! The newest texts of a kind, such as the metrics every 10 s, in bounded memory.
//!
//! Texts that follow each other differ little. So the first text of a group is compressed alone, and
//! each further one with the first as its dictionary. Groups are dropped as a whole, oldest first.

use std::collections::VecDeque;

use skytide_core::time::Timestamp;

/// Samples in a group: one minute.
const GROUP_SAMPLES_MAX: usize = 6;
/// Samples that are older than this, compared with the newest one, are dropped, in milliseconds: ten
/// minutes and a group.
const AGE_MS_MAX: u64 = 11 * 60_000;
/// The compression level.
const LEVEL: i32 = 3;

/// The newest texts of a kind.
#[derive(Debug)]
pub struct SampleRing {
    /// Oldest first.
    groups: VecDeque<Group>,
    /// The first text of the newest group.
    dictionary: Vec<u8>,
    /// Bytes of the compressed samples.
    bytes: usize,
    bytes_max: usize,
    too_large: u64,
}

#[derive(Debug, Default)]
struct Group {
    samples: Vec<Compressed>,
    /// Whether all samples except the first are compressed with the first as their dictionary.
    has_dictionary: bool,
}

#[derive(Debug)]
struct Compressed {
    at: Timestamp,
    bytes: Vec<u8>,
    raw_bytes: usize,
}

/// A text and the time at which it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// The text.
    pub text: Vec<u8>,
}

impl Group {
    fn bytes(&self) -> usize {
        self.samples.iter().map(|sample| sample.bytes.len()).sum()
    }

    fn newest(&self) -> Timestamp {
        self.samples.last().map_or(Timestamp(0), |sample| sample.at)
    }
}

impl SampleRing {
    /// An empty ring that uses at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            groups: VecDeque::new(),
            dictionary: Vec::new(),
            bytes: 0,
            bytes_max,
            too_large: 0,
        }
    }

    /// Adds a sample. Drops the oldest groups if they are too old or if there is no room. A sample
    /// that is too large for the ring is dropped and counted.
    pub fn push(&mut self, sample: &Sample) {
        let Sample { at, text } = sample;
        let half = self.bytes_max / 2;
        let is_full = |group: &Group| {
            let has_room = group.bytes() + self.dictionary.len() <= half;
            group.samples.len() >= GROUP_SAMPLES_MAX || !has_room
        };
        let starts_group = self.groups.back().is_none_or(is_full);
        let dictionary: &[u8] = match starts_group {
            true => &[],
            false => &self.dictionary,
        };
        let compressed = compress(text, dictionary);
        let Some(bytes) = compressed.ok().filter(|bytes| bytes.len() <= half) else {
            self.too_large += 1;
            return;
        };
        if starts_group {
            self.dictionary.clear();
            // The dictionary is not compressed. Large samples are compressed alone.
            let has_dictionary = bytes.len() + text.len() <= half;
            if has_dictionary {
                self.dictionary.clone_from(text);
            }
            self.groups.push_back(Group {
                samples: Vec::new(),
                has_dictionary,
            });
        }
        self.bytes += bytes.len();
        let compressed = Compressed {
            at: *at,
            bytes,
            raw_bytes: text.len(),
        };
        if let Some(newest) = self.groups.back_mut() {
            newest.samples.push(compressed);
        }
        self.drop_oldest(*at);
    }

    fn drop_oldest(&mut self, now: Timestamp) {
        // The newest group always fits: it has at most half of the bytes, and one sample more.
        while self.groups.len() > 1
            && let Some(oldest) = self.groups.front()
        {
            let too_old = oldest.newest().0 + AGE_MS_MAX < now.0;
            if !too_old && self.bytes() <= self.bytes_max {
                return;
            }
            self.bytes -= oldest.bytes();
            self.groups.pop_front();
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.groups.iter().flat_map(samples_of).collect()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.samples.len()).sum()
    }

    /// The number of samples that were dropped because they are too large for the ring.
    pub fn too_large(&self) -> u64 {
        self.too_large
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> usize {
        self.bytes + self.dictionary.len()
    }
}

fn compress(text: &[u8], dictionary: &[u8]) -> std::io::Result<Vec<u8>> {
    match dictionary.is_empty() {
        true => zstd::bulk::compress(text, LEVEL),
        false => zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary)?.compress(text),
    }
}

/// The samples of a group. A sample that cannot be decompressed is left out with those after it.
fn samples_of(group: &Group) -> Vec<Sample> {
    let mut samples: Vec<Sample> = Vec::new();
    for Compressed {
        at,
        bytes,
        raw_bytes,
    } in &group.samples
    {
        let dictionary = samples.first().filter(|_| group.has_dictionary);
        let text = match dictionary {
            None => zstd::bulk::decompress(bytes, *raw_bytes),
            Some(first) => zstd::bulk::Decompressor::with_dictionary(&first.text)
                .and_then(|mut it| it.decompress(bytes, *raw_bytes)),
        };
        let Ok(text) = text else { break };
        samples.push(Sample { at: *at, text });
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64) -> Sample {
        let lines = (0..500).map(|line| format!("metric_{line} {}\n", number * line));
        Sample {
            at: Timestamp(number * 10_000),
            text: lines.collect::<String>().into_bytes(),
        }
    }

    #[test]
    fn ten_minutes_of_samples_come_back_as_they_were() {
        let mut ring = SampleRing::new(1 << 20);
        for number in 0..200 {
            ring.push(&sample(number));
            assert!(ring.bytes() <= 1 << 20);
        }
        let samples = ring.samples();
        let first = samples.first().expect("samples").at.0 / 10_000;
        let ages = 199 - first;
        assert!(
            (60..=72).contains(&ages),
            "the oldest is {ages} samples old"
        );
        let expected: Vec<Sample> = (first..200).map(sample).collect();
        assert!(samples == expected);
        let raw: usize = samples.iter().map(|it| it.text.len()).sum();
        assert!(ring.bytes() * 3 < raw, "{} of {raw}", ring.bytes());
    }

    #[test]
    fn a_small_ring_keeps_the_newest_samples_and_counts_those_that_are_too_large() {
        let bytes_max = 3 * sample(0).text.len();
        let mut ring = SampleRing::new(bytes_max);
        for number in 0..100 {
            ring.push(&sample(number));
            assert!(ring.bytes() <= bytes_max, "sample {number}");
        }
        assert_eq!(ring.samples().last(), Some(&sample(99)));
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        });
        let text: Vec<u8> = noise.take(bytes_max).collect();
        let at = Timestamp(2_000_000);
        ring.push(&Sample { at, text });
        assert_eq!(ring.too_large(), 1);
        assert_eq!(ring.samples().last(), Some(&sample(99)));
    }

    #[test]
    fn texts_that_are_larger_than_the_ring_are_kept_if_they_compress_well() {
        let bytes_max = sample(0).text.len();
        let mut ring = SampleRing::new(bytes_max);
        for number in 0..20 {
            ring.push(&sample(number));
            assert!(ring.bytes() <= bytes_max, "sample {number}");
        }
        assert_eq!(ring.too_large(), 0);
        assert_eq!(ring.samples().last(), Some(&sample(19)));
    }
}
