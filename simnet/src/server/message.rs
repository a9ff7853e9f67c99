//! The frames that a relay makes itself: notes and errors; and the number in a frame.

use bytes::Bytes;
use skytide_core::cbor::{Error, Loose, Reader};

/// A message that is over every consumer's limit of 5,000,000 bytes.
pub(super) const OVERSIZED_BYTES: usize = 5_000_001;

/// `#info` with a name, as `OutdatedCursor`.
pub(super) fn info(name: &str, message: &str) -> Bytes {
    // {"t": "#info", "op": 1}, {"name": ..., "message": ...}
    let mut frame = b"\xa2\x61t\x65#info\x62op\x01\xa2".to_vec();
    for word in ["name", name, "message", message] {
        text(&mut frame, word);
    }
    frame.into()
}

/// An error with a name, as `FutureCursor`. `typed`: its header has a `t`, which the protocol does not foresee.
pub(super) fn error(name: &str, message: &str, typed: bool) -> Bytes {
    // {"op": -1} or {"t": "#info", "op": -1}, {"error": ..., "message": ...}
    let mut frame = match typed {
        false => b"\xa1\x62op\x20\xa2".to_vec(),
        true => b"\xa2\x61t\x65#info\x62op\x20\xa2".to_vec(),
    };
    for word in ["error", name, "message", message] {
        text(&mut frame, word);
    }
    frame.into()
}

fn text(frame: &mut Vec<u8>, text: &str) {
    head(frame, 0x60, text.len() as u64);
    frame.extend_from_slice(text.as_bytes());
}

/// The head of an item in its shortest form (<https://www.rfc-editor.org/rfc/rfc8949#section-3>).
fn head(frame: &mut Vec<u8>, major: u8, argument: u64) {
    match argument {
        0..24 => frame.push(major | argument as u8),
        24..0x100 => frame.extend_from_slice(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            frame.push(major | 25);
            frame.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            frame.push(major | 26);
            frame.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            frame.push(major | 27);
            frame.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// The same frame with its number lowered by `shift`, at least 1; as it is if it has none.
pub(super) fn renumbered(frame: &Bytes, shift: u64) -> Bytes {
    let Ok(Some((at, end, seq))) = number(frame) else {
        return frame.clone();
    };
    let mut bytes = Vec::with_capacity(frame.len());
    bytes.extend_from_slice(&frame[..at]);
    head(&mut bytes, 0, seq.saturating_sub(shift).max(1));
    bytes.extend_from_slice(&frame[end..]);
    bytes.into()
}

/// Where the number stands in a frame, and what it is.
fn number(frame: &[u8]) -> Result<Option<(usize, usize, u64)>, Error> {
    let mut reader = Reader::<Loose>::new(frame);
    reader.skip()?;
    let mut found = None;
    let at = |reader: &Reader<'_, Loose>| frame.len() - reader.rest().len();
    reader.map(|reader, key| {
        let begin = at(reader);
        if key != b"seq" {
            return reader.skip();
        }
        if let Some(seq) = reader.integer()?.and_then(|seq| u64::try_from(seq).ok()) {
            found = Some((begin, at(reader), seq));
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"t": "#identity", "op": 1}, {"did": "did:web:a.example", "seq": SEQ, "time": "2026"}`
    fn identity(seq: u64) -> Bytes {
        let mut frame = b"\xa2\x61t\x69#identity\x62op\x01\xa3".to_vec();
        text(&mut frame, "did");
        text(&mut frame, "did:web:a.example");
        text(&mut frame, "seq");
        head(&mut frame, 0, seq);
        text(&mut frame, "time");
        text(&mut frame, "2026");
        frame.into()
    }

    #[test]
    fn a_number_is_lowered_and_the_rest_stays_as_it_is() {
        for (seq, shift) in [
            (1_000, 999),
            (70_000, 65_000),
            (5_000_000_000, 1),
            (300, 290),
        ] {
            let lowered = renumbered(&identity(seq), shift);
            assert_eq!(lowered, identity(seq - shift), "{seq} - {shift}");
        }
    }

    #[test]
    fn what_has_no_number_stays_as_it_is_and_no_number_is_below_1() {
        for frame in [info("OutdatedCursor", "gone"), "??".into()] {
            assert_eq!(renumbered(&frame, 7), frame);
        }
        assert_eq!(renumbered(&identity(3), 7), identity(1));
    }
}
