//! The framing of one message in a segment: its length, a checksum, its CBOR.
//!
//! ```text
//! length u32 (bit 31: a tick) │ CRC-32 u32 │ CBOR          little-endian
//! ```
//!
//! The checksum also covers the message's position in the log: a message at a wrong position is
//! damage.

use skytide_core::event::Message;

/// Bytes of the header before a message.
pub const HEAD_BYTES: usize = 8;
/// The maximum size of a message in bytes: several times the largest frame that a relay may send.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

const TICK: u32 = 1 << 31;

/// The result of reading a message at the start of a byte slice.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A complete message with a valid checksum.
    Complete {
        /// Whether the message is a tick, which ends an epoch.
        tick: bool,
        /// The message as CBOR.
        message: &'a [u8],
    },
    /// The slice is too short.
    Incomplete {
        /// Bytes that the message needs at least, counted from the start of the slice.
        needed: usize,
    },
    /// The bytes are not a message: torn, damaged or never written.
    Invalid,
}

/// Appends a message at position `seq`. If the message is too long, appends nothing and returns its
/// length as the error.
pub fn push(buffer: &mut Vec<u8>, seq: u64, message: &Message) -> Result<(), usize> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD_BYTES]);
    message.encode(buffer);
    let (head, body) = buffer[start..].split_at_mut(HEAD_BYTES);
    let length = body.len();
    if length > MESSAGE_BYTES_MAX {
        buffer.truncate(start);
        return Err(length);
    }
    let tick = matches!(message, Message::Tick(_));
    let word = length as u32 | if tick { TICK } else { 0 };
    head[..4].copy_from_slice(&word.to_le_bytes());
    head[4..].copy_from_slice(&checksum(seq, word, body).to_le_bytes());
    Ok(())
}

/// Reads the message at the start of `bytes`. The message must have position `seq`.
pub fn read(bytes: &[u8], seq: u64) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Frame::Incomplete { needed: HEAD_BYTES };
    };
    let word = u32::from_le_bytes(head[..4].try_into().expect("4 bytes"));
    let length = (word & !TICK) as usize;
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Frame::Invalid;
    }
    let Some(message) = rest.get(..length) else {
        let needed = HEAD_BYTES + length;
        return Frame::Incomplete { needed };
    };
    if head[4..] != checksum(seq, word, message).to_le_bytes() {
        return Frame::Invalid;
    }
    let tick = word & TICK != 0;
    Frame::Complete { tick, message }
}

fn checksum(seq: u64, word: u32, message: &[u8]) -> u32 {
    let mut prefix = [0; 12];
    prefix[..8].copy_from_slice(&seq.to_le_bytes());
    prefix[8..].copy_from_slice(&word.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&prefix);
    hasher.update(message);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::event::{Sources, Tick};
    use skytide_core::id::{Cursor, Epoch};
    use skytide_core::time::Timestamp;

    #[test]
    fn a_message_is_complete_only_at_its_position_and_with_every_bit_unchanged() {
        let message = Message::Tick(Tick {
            epoch: Epoch(1),
            time: Timestamp(2),
            host: "relay.example".into(),
            cursor: Cursor(3),
            frames: 4,
            last: false,
            idle: false,
            sources: Sources::default(),
            counts: Default::default(),
        });
        let mut bytes = Vec::new();
        push(&mut bytes, 7, &message).unwrap();

        let Frame::Complete {
            tick,
            message: cbor,
        } = read(&bytes, 7)
        else {
            panic!("the message is complete");
        };
        assert!(tick);
        assert_eq!(Message::decode(cbor).unwrap(), message);
        assert_eq!(read(&bytes, 8), Frame::Invalid);
        assert_eq!(read(&[0; 64], 7), Frame::Invalid);
        for end in 0..bytes.len() {
            assert!(
                matches!(read(&bytes[..end], 7), Frame::Incomplete { .. }),
                "truncated at {end}"
            );
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(read(&flipped, 7), Frame::Complete { .. }),
                "bit {bit} flipped"
            );
        }
    }
}
