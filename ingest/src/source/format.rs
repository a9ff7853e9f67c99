//! The format of a recording: where a frame starts and ends (`docs/recordings.md`).
//!
//! Each frame follows its length, which has four bytes, big- or little-endian. The file does not
//! declare the byte order, so it is detected from the content.

use crate::frame::{Verify, decode};
use skytide_core::event::DropReason;

/// A larger length is damage. Frames between the protocol's limit and this one are skipped and
/// counted.
pub const LENGTH_MAX: usize = 16 << 20;
/// Bytes of a length.
pub const PREFIX: usize = 4;
/// Bytes from the start of a recording that suffice to detect the byte order.
pub const HEAD_BYTES: usize = 64 << 10;

/// The byte order of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte first, as `skytide record` writes it.
    Big,
    /// The least significant byte first.
    Little,
}

impl ByteOrder {
    /// Reads a length; `None` if it is over [`LENGTH_MAX`].
    pub fn length(self, prefix: [u8; PREFIX]) -> Option<usize> {
        let length = match self {
            Self::Big => u32::from_be_bytes(prefix),
            Self::Little => u32::from_le_bytes(prefix),
        };
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= LENGTH_MAX)
    }

    /// Detects the order from a recording's first bytes: [`HEAD_BYTES`], or all if there are fewer.
    /// Returns `None` if they are not a recording.
    ///
    /// For each order, the chain of lengths is followed to the end of `head`. The order whose first
    /// frame is valid is chosen. If that holds for both or for neither, the order with more frames
    /// in its chain is chosen.
    pub fn detect(head: &[u8]) -> Option<Self> {
        let big = Chain::follow(head, Self::Big);
        let little = Chain::follow(head, Self::Little);
        let (best, order) = if little > big {
            (little, Self::Little)
        } else {
            (big, Self::Big)
        };
        let chained = best.plausible && (best.frames >= 2 || best.truncated);
        (best.first_is_frame || chained).then_some(order)
    }
}

/// The chain of frames by one byte order. A greater chain is more plausible.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    /// The first whole frame is valid.
    first_is_frame: bool,
    /// No length was over the limit.
    plausible: bool,
    /// The number of whole frames.
    frames: usize,
    /// Even the first frame ends after `head`.
    truncated: bool,
}

impl Chain {
    fn follow(head: &[u8], order: ByteOrder) -> Self {
        let mut chain = Self {
            first_is_frame: false,
            plausible: true,
            frames: 0,
            truncated: false,
        };
        let mut rest = head;
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
            let Some(length) = order.length(*prefix) else {
                chain.plausible = false;
                break;
            };
            let Some((frame, after)) = after.split_at_checked(length) else {
                chain.truncated = chain.frames == 0;
                break;
            };
            if chain.frames == 0 {
                chain.first_is_frame = is_frame(frame);
            }
            chain.frames += 1;
            rest = after;
        }
        chain
    }
}

/// Whether the bytes are a frame, even one that would be dropped.
pub fn is_frame(bytes: &[u8]) -> bool {
    match decode(bytes, Verify::Records) {
        Ok(_) => true,
        Err(rejected) => rejected.reason != DropReason::FrameCbor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `#info` frame whose text has this many bytes.
    fn frame(text_bytes: u16) -> Vec<u8> {
        let mut frame = b"\xa2at\x65#infobop\x01\xa2dnamedNotegmessage\x79".to_vec();
        frame.extend(text_bytes.to_be_bytes());
        frame.resize(frame.len() + usize::from(text_bytes), b'x');
        frame
    }

    fn recording(frames: &[Vec<u8>], order: ByteOrder) -> Vec<u8> {
        let with_length = frames.iter().flat_map(|frame| {
            let length = frame.len() as u32;
            let prefix = match order {
                ByteOrder::Big => length.to_be_bytes(),
                ByteOrder::Little => length.to_le_bytes(),
            };
            prefix.into_iter().chain(frame.iter().copied())
        });
        with_length.collect()
    }

    #[test]
    fn the_byte_order_is_detected_for_any_lengths() {
        assert!(is_frame(&frame(10)));
        for order in [ByteOrder::Big, ByteOrder::Little] {
            for size in [0, 1, 190, 221, 222, 223, 224, 500, 5_000, 65_000] {
                let frames = vec![frame(size), frame(3), frame(700)];
                let bytes = recording(&frames, order);
                for end in [PREFIX + frames[0].len(), bytes.len()] {
                    let head = &bytes[..end.min(HEAD_BYTES)];
                    assert_eq!(ByteOrder::detect(head), Some(order), "{size} {end}");
                }
            }
        }
    }

    #[test]
    fn a_malformed_first_frame_does_not_prevent_detection() {
        for order in [ByteOrder::Big, ByteOrder::Little] {
            let frames = vec![b"garbage".to_vec(), frame(3), Vec::new(), frame(700)];
            assert_eq!(ByteOrder::detect(&recording(&frames, order)), Some(order));
        }
    }

    #[test]
    fn other_files_are_not_recordings() {
        for bytes in [
            &b"{\"seq\": 1}\n{\"seq\": 2}\n"[..],
            b"GIF89a...............",
            &[0xff; 100],
            b"abc",
        ] {
            assert_eq!(ByteOrder::detect(bytes), None);
        }
    }
}
