//! Which keys a run may contain: a split block Bloom filter
//! (<https://github.com/apache/parquet-format/blob/master/BloomFilter.md>).
//!
//! A key sets one bit in each of the eight words of one block of 32 bytes. So a check reads one
//! cache line. With [`BITS_PER_KEY`] about 1 % of absent keys are not recognized as absent.

use xxhash_rust::xxh3::xxh3_64;

/// Memory and disk space of a key in the filter, in bits.
const BITS_PER_KEY: usize = 10;
const BLOCK_BITS: usize = 256;
const WORDS: usize = 8;
/// The odd constants of the specification, one for each word.
const SALT: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A filter of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(Box<[[u32; WORDS]]>);

impl Filter {
    /// A filter of the keys with these hashes.
    pub(crate) fn of(hashes: &[u64]) -> Self {
        let blocks = (hashes.len() * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        let mut filter = Self(vec![[0; WORDS]; blocks].into());
        for &hash in hashes {
            let block = filter.block(hash);
            for (word, mask) in filter.0[block].iter_mut().zip(masks(hash)) {
                *word |= mask;
            }
        }
        filter
    }

    /// Whether a key with this hash may be in the set. `false` is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let words = &self.0[self.block(hash)];
        words
            .iter()
            .zip(masks(hash))
            .all(|(word, mask)| word & mask != 0)
    }

    /// The block of a hash: its high half, scaled to the number of blocks.
    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.0.len() as u64) >> 32) as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * WORDS * 4
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = self.0.iter().flatten();
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// # Errors
    /// The bytes are no filter.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (blocks, rest) = bytes.as_chunks::<{ WORDS * 4 }>();
        if blocks.is_empty() || !rest.is_empty() {
            return Err("the filter has an invalid length");
        }
        let words = |block: &[u8; WORDS * 4]| {
            let (words, _) = block.as_chunks::<4>();
            std::array::from_fn(|at| u32::from_le_bytes(words[at]))
        };
        Ok(Self(blocks.iter().map(words).collect()))
    }
}

/// The hash of a key.
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// One bit for each word, from the low half of the hash.
fn masks(hash: u64) -> [u32; WORDS] {
    SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_missing_and_few_others_seem_present() {
        let key = |n: u32| hash(&n.to_be_bytes());
        let keys: Vec<u64> = (0..20_000).map(key).collect();
        let filter = Filter::of(&keys);
        assert!(keys.iter().all(|&hash| filter.may_contain(hash)));
        let others = (20_000..120_000).filter(|&n| filter.may_contain(key(n)));
        let others = others.count();
        assert!((1..3_000).contains(&others), "{others} of 100,000");
        let decoded = Filter::decode(&filter.encode());
        assert_eq!(decoded, Ok(filter));
    }

    #[test]
    fn a_filter_without_keys_contains_none() {
        let filter = Filter::of(&[]);
        assert!((0..1_000_u32).all(|n| !filter.may_contain(hash(&n.to_be_bytes()))));
        assert!(Filter::decode(&[]).is_err());
        assert!(Filter::decode(&[0; 33]).is_err());
    }
}
