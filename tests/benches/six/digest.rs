//! One number for all rows of a kind, which does not depend on their order: the sum of their hashes.
//! `benches/dbsp` computes the same numbers from the same texts.

use skytide_core::id::{Collection, PostKey};
use skytide_tests::textbook::{Row, Tallies};

/// The kinds of rows.
pub const KINDS: [&str; 7] = [
    "posts",
    "top posts",
    "hashtags",
    "top hashtags",
    "interactions",
    "accounts",
    "operations",
];

/// The sums of all kinds.
#[derive(Debug, Default)]
pub struct Digests([u64; KINDS.len()]);

impl Digests {
    /// Adds a row this many times.
    pub fn add(&mut self, row: &Row, count: i32, collections: &[Collection]) {
        let (kind, text) = text(row, collections);
        // FNV-1a.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let sum = hash.wrapping_mul(i64::from(count).cast_unsigned());
        self.0[kind] = self.0[kind].wrapping_add(sum);
    }

    /// All sums.
    pub fn text(&self) -> String {
        let sums = self.0.iter().map(|sum| format!("{sum:016x}"));
        sums.collect::<Vec<_>>().join(" ")
    }
}

/// The index of a row's kind, and its text.
fn text(row: &Row, collections: &[Collection]) -> (usize, String) {
    let uri = |post: &PostKey| format!("{}/{}", post.did(), post.rkey());
    let four = |(a, b, c, d): &Tallies| format!("{a} {b} {c} {d}");
    match row {
        Row::Post { post, tallies } => (0, format!("{} {}", uri(post), four(tallies))),
        Row::TopPost { post, likes } => (1, format!("{} {likes}", uri(post))),
        Row::Tag {
            window,
            tag,
            counts,
        } => (2, format!("{} {tag} {}", *window as u8, four(counts))),
        Row::TopTag {
            window,
            tag,
            counts,
        } => (3, format!("{} {tag} {}", *window as u8, four(counts))),
        Row::Interaction {
            author,
            subject,
            day,
            tallies,
        } => (4, format!("{author} {subject} {day} {}", four(tallies))),
        Row::Account { account, counts } => (5, format!("{account} {}", four(counts))),
        Row::Operations {
            collection,
            hour,
            counts,
        } => {
            let name = collections[usize::from(*collection)].as_str();
            (6, format!("{name} {hour} {}", four(counts)))
        }
    }
}
