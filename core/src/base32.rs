//! The sortable base32 of TIDs (<https://atproto.com/specs/tid>): the digits `2`-`7`, then `a`-`z`,
//! five bits each.
//!
//! A did:plc uses the same 32 characters, so this alphabet packs both. The alphabet is in ASCII
//! order, so packed bytes sort like the texts.

const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// For each byte its five bits, or 0xff if it is not in the alphabet.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut i = 0;
    while i < 32 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// The character for the five lowest bits of `value`.
pub fn digit(value: u64) -> u8 {
    ALPHABET[(value & 31) as usize]
}

/// The five bits of a character; `None` if it is not in the alphabet.
pub fn value(character: u8) -> Option<u64> {
    let value = VALUES[usize::from(character)];
    (value != 0xff).then_some(u64::from(value))
}

/// Packs 24 characters into 15 bytes and preserves their order. `None` if a character is not in the
/// alphabet.
pub fn pack24(text: &[u8; 24]) -> Option<[u8; 15]> {
    let mut packed = [0; 15];
    for (chunk, bytes) in text.chunks_exact(8).zip(packed.chunks_exact_mut(5)) {
        let mut bits = 0;
        for &character in chunk {
            bits = bits << 5 | value(character)?;
        }
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(packed)
}

/// Unpacks the 24 characters that [`pack24`] packed.
pub fn unpack24(packed: &[u8; 15]) -> [u8; 24] {
    let mut text = [0; 24];
    for (bytes, chunk) in packed.chunks_exact(5).zip(text.chunks_exact_mut(8)) {
        let bits = bytes
            .iter()
            .fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        for (i, character) in chunk.iter_mut().enumerate() {
            *character = digit(bits >> (35 - 5 * i));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_preserves_text_and_order() {
        let texts: [&[u8; 24]; 4] = [
            b"222222222222222222222222",
            b"3ir4kq33qnjyzawsel2s2vak",
            b"a77777777777777777777777",
            b"zzzzzzzzzzzzzzzzzzzzzzzz",
        ];
        let packed: Vec<_> = texts.iter().map(|text| pack24(text).unwrap()).collect();
        assert!(packed.is_sorted());
        for (text, packed) in texts.iter().zip(&packed) {
            assert_eq!(&unpack24(packed), *text);
        }
        assert_eq!(pack24(b"1ir4kq33qnjyzawsel2s2vak"), None);
    }
}
