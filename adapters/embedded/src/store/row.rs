//! How values are stored: the epoch and columns of a row, and the control record.

use skytide_core::id::Epoch;
use skytide_core::port::store::{Control, StoreError};
use skytide_core::view::{Key, StoredRow};

/// Encodes a row: its epoch in LEB128 (<https://en.wikipedia.org/wiki/LEB128>), then its columns.
pub fn encode(epoch: Epoch, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + row.len());
    let mut rest = epoch.0;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend_from_slice(row);
    bytes
}

/// Decodes a row.
pub fn decode(key: Key, value: &[u8]) -> Result<StoredRow, StoreError> {
    let last = value.iter().take(10).position(|byte| byte & 0x80 == 0);
    let Some((epoch, row)) = last.and_then(|last| value.split_at_checked(last + 1)) else {
        return Err(StoreError::Damaged(format!(
            "the row with key {key:?} has no valid epoch"
        )));
    };
    let epoch = epoch
        .iter()
        .rev()
        .fold(0, |bits, byte| bits << 7 | u64::from(byte & 0x7f));
    Ok(StoredRow {
        key,
        epoch: Epoch(epoch),
        row: row.into(),
    })
}

/// Encodes the control record as CBOR, which stores views by name.
pub fn encode_control(control: &Control) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(control, &mut bytes).expect("writing into a vector cannot fail");
    bytes
}

/// Decodes the control record.
pub fn decode_control(bytes: &[u8]) -> Result<Control, StoreError> {
    ciborium::from_reader(bytes).map_err(|error| {
        StoreError::Damaged(format!("the control record cannot be decoded: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoded_row_has_its_epoch_and_columns() {
        for epoch in [0, 1, 127, 128, 300, 864_000_000, u64::MAX] {
            let bytes = encode(Epoch(epoch), b"columns");
            let row = decode(Key::from(&b"key"[..]), &bytes).unwrap();
            assert_eq!((row.epoch, &row.row[..]), (Epoch(epoch), &b"columns"[..]));
        }
        assert!(decode(Key::default(), &[]).is_err());
        assert!(decode(Key::default(), &[0x80]).is_err());
    }
}
