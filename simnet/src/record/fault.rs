//! Applies a fault to a record's bytes.

use crate::cbor::Cbor;
use crate::content::Content;
use crate::malformed::Kind;

/// A map key that sorts after all keys of real records.
const LAST_KEY: &str = "zzzzzzzzzzzzzzzz";
/// The prefix of a link to a CID of version 0.
const OLD_LINK: [u8; 7] = [0xd8, 42, 0x58, 35, 0, 0x12, 0x20];

/// Damages a record. If it can no longer be parsed, its content becomes unknown.
pub(super) fn apply(
    mut bytes: Vec<u8>,
    content: Content,
    fault: Option<Kind>,
) -> (Vec<u8>, Content) {
    let Some(kind) = fault else {
        return (bytes, content);
    };
    let end = |bytes: &mut Vec<u8>, key: &str, value: &[u8]| {
        // A map of fewer than 23 entries has their number in its first byte.
        bytes[0] += 1;
        let mut cbor = Cbor(std::mem::take(bytes));
        cbor.text(key);
        cbor.0.extend_from_slice(value);
        *bytes = cbor.0;
    };
    match kind {
        Kind::RecordUtf8 => end(&mut bytes, LAST_KEY, &[0x63, b'a', 0xff, b'b']),
        Kind::RecordFloat => end(&mut bytes, LAST_KEY, &[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
        Kind::RecordInteger => end(&mut bytes, LAST_KEY, &[0x1b, 0xff, 0, 0, 0, 0, 0, 0, 0]),
        Kind::RecordUnsafe => end(&mut bytes, LAST_KEY, &[0x1b, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        Kind::RecordDeep => {
            let mut lists = vec![0x81; 3_000];
            lists.push(0x80);
            end(&mut bytes, LAST_KEY, &lists);
        }
        Kind::RecordLength => end(&mut bytes, LAST_KEY, &[0x7b, 0x40, 0, 0, 0, 0, 0, 0, 0]),
        Kind::RecordIndefinite => end(&mut bytes, LAST_KEY, &[0x9f, 0xff]),
        Kind::RecordKeyTwice => {
            end(&mut bytes, LAST_KEY, &[1]);
            end(&mut bytes, LAST_KEY, &[1]);
        }
        Kind::RecordKeyOrder => end(&mut bytes, "a", &[1]),
        Kind::RecordTag => end(&mut bytes, LAST_KEY, &[0xc1, 0]),
        Kind::RecordCid => {
            let link = [OLD_LINK.as_slice(), &[0; 32]].concat();
            end(&mut bytes, LAST_KEY, &link);
        }
        Kind::RecordTrailing => bytes.push(0xa0),
        Kind::RecordList => bytes.insert(0, 0x81),
        // The other kinds affect the content.
        _ => {}
    }
    if kind.is_unreadable() {
        (bytes, Content::Unknown)
    } else {
        (bytes, content)
    }
}
