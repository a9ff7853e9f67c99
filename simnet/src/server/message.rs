//! What the server needs to know about the frames that it sends: which are errors, and where the
//! sequence number is.

use bytes::Bytes;
use skytide_core::cbor::{Error, Loose, Reader};

use crate::cbor::Cbor;

/// Size of a message above every consumer's limit of 5,000,000 bytes.
pub(super) const OVERSIZED_BYTES: usize = 5_000_001;

/// Whether this is an error frame: its header has a negative `op`.
pub(super) fn is_error(frame: &[u8]) -> bool {
    let mut op = None;
    let read = Reader::<Loose>::new(frame).map(|reader, key| {
        if key != b"op" {
            return reader.skip();
        }
        op = reader.integer()?;
        Ok(())
    });
    read.is_ok() && op.is_some_and(|op| op < 0)
}

/// The same frame with its sequence number lowered by `shift`, but to no less than 1. A frame
/// without a number is unchanged.
pub(super) fn renumbered(frame: &Bytes, shift: u64) -> Bytes {
    let Ok(Some((at, end, seq))) = number(frame) else {
        return frame.clone();
    };
    let mut bytes = Vec::with_capacity(frame.len());
    bytes.extend_from_slice(&frame[..at]);
    let mut bytes = Cbor(bytes);
    bytes.uint(seq.saturating_sub(shift).max(1));
    bytes.0.extend_from_slice(&frame[end..]);
    bytes.0.into()
}

/// The start and end of the sequence number in a frame, and its value.
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
    use crate::{error, info};

    #[test]
    fn an_error_frame_is_distinguished_from_all_others() {
        assert!(is_error(&error("FutureCursor", None, None)));
        assert!(is_error(&error(
            "InternalError",
            Some("sorry"),
            Some("#info")
        )));
        for frame in [
            info("OutdatedCursor", None),
            identity(1).to_vec(),
            b"\xa1".to_vec(),
        ] {
            assert!(!is_error(&frame), "{frame:?}");
        }
    }

    /// `{"t": "#identity", "op": 1}, {"did": "did:web:a.example", "seq": SEQ, "time": "2026"}`
    fn identity(seq: u64) -> Bytes {
        let mut frame = Cbor(b"\xa2\x61t\x69#identity\x62op\x01".to_vec());
        frame.map(3).text("did").text("did:web:a.example");
        frame.text("seq").uint(seq).text("time").text("2026");
        frame.0.into()
    }

    #[test]
    fn the_number_is_lowered_and_the_rest_is_unchanged() {
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
    fn a_frame_without_a_number_is_unchanged_and_no_number_is_below_1() {
        let info = info("OutdatedCursor", Some("gone")).into();
        for frame in [info, Bytes::from_static(b"??")] {
            assert_eq!(renumbered(&frame, 7), frame);
        }
        assert_eq!(renumbered(&identity(3), 7), identity(1));
    }
}
