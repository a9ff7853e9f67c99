//! Encodes keys as strings that sort like the bytes of the keys.
//!
//! MongoDB compares binary values by their length first
//! (<https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/#bindata>), but
//! strings byte by byte. So an `_id` is the key in base 64 without padding, with an alphabet whose
//! characters are in ascending order. This preserves the order of any two keys `a < b`. If they
//! differ, then at the first different bit the character of `a` is the smaller one. If `a` is a
//! prefix of `b`, then the bits that fill the last character of `a` are zeros, and `b` has more
//! characters.

use skytide_core::view::Key;

const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Sorts before every encoded key except the empty one. A scan that starts here skips documents
/// that are not rows.
pub const LOWEST: &str = "-";

/// Encodes a key.
pub fn encode(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len().div_ceil(3) * 4);
    for bytes in key.chunks(3) {
        let byte = |place: usize| u32::from(bytes.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=bytes.len() {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            text.push(char::from(ALPHABET[digit as usize]));
        }
    }
    text
}

/// Decodes a key. Returns `None` if no key is encoded like this.
pub fn decode(text: &str) -> Option<Key> {
    let mut key = Vec::with_capacity(text.len() * 3 / 4);
    for digits in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            bits = bits << 6 | digits.get(place).map_or(Some(0), |digit| value(*digit))?;
        }
        let count = digits.len() - 1;
        let padding = (1 << (24 - 8 * count)) - 1;
        if count == 0 || bits & padding != 0 {
            return None;
        }
        key.extend_from_slice(&bits.to_be_bytes()[1..][..count]);
    }
    Some(Key::from(key.as_slice()))
}

fn value(digit: u8) -> Option<u32> {
    let place = ALPHABET.binary_search(&digit).ok()?;
    u32::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_tests::world::Random;

    #[test]
    fn encoded_keys_decode_and_sort_like_the_keys() {
        let seed = 5;
        let mut random = Random::new(seed);
        let mut keys: Vec<Vec<u8>> = (0..20_000)
            .map(|_| {
                let bytes = [0, 1, 2, 0x2d, 0x7f, 0x80, 0xfe, 0xff];
                (0..random.below(9)).map(|_| *random.pick(&bytes)).collect()
            })
            .collect();
        keys.extend((0..=255).map(|byte| vec![byte]));
        keys.sort();
        keys.dedup();
        let texts: Vec<String> = keys.iter().map(|key| encode(key)).collect();
        for (pair, keys) in texts.windows(2).zip(keys.windows(2)) {
            assert!(
                pair[0].as_bytes() < pair[1].as_bytes(),
                "seed {seed}: {keys:?}"
            );
        }
        for (text, key) in texts.iter().zip(&keys) {
            assert_eq!(
                decode(text).map(|it| it.as_bytes().to_vec()).as_ref(),
                Some(key)
            );
            assert!(key.is_empty() || text.as_str() >= LOWEST);
        }
    }

    #[test]
    fn strings_that_encode_no_key_are_refused() {
        for text in [
            "-", "z", "-1", "zzz", "----1", "#guard", "a b", "ää", "zzz=",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
