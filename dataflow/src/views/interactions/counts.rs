//! The counts of a pair, in memory and on disk.

use serde::{Deserialize, Serialize};
use skytide_core::view::InteractionRow;

use crate::operators::count::{Carries, to_row_count};
use crate::sizes::HeapSize;

/// The numbers of an author and a subject.
pub(super) type Pair = (u32, u32);

/// The key of a count in the carries of a part.
pub(super) type CountKey = (Pair, Kind);

/// One interaction of an account with another one: inserted (+1) or retracted (-1).
#[derive(Clone, Copy, Debug)]
pub(in crate::views) struct Interaction {
    pub(super) kind: Kind,
    /// Characters of a reply or a quote; 0 for other kinds.
    pub(super) characters: u32,
    pub(super) diff: i16,
}

impl HeapSize for Interaction {
    fn heap_bytes(&self) -> usize {
        0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Like,
    Repost,
    Reply,
    Quote,
}

/// The interactions of an account with another one in memory: the low 32 bits of each count, and
/// only what is not on disk. A count is negative if interactions that are on disk were retracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InteractionCounts {
    likes: i32,
    reposts: i32,
    replies: i32,
    quotes: i32,
    characters: i64,
}

impl InteractionCounts {
    pub fn add(&mut self, interaction: Interaction, pair: Pair, carries: &mut Carries<CountKey>) {
        let Interaction {
            kind,
            characters,
            diff,
        } = interaction;
        let count = match kind {
            Kind::Like => &mut self.likes,
            Kind::Repost => &mut self.reposts,
            Kind::Reply => &mut self.replies,
            Kind::Quote => &mut self.quotes,
        };
        carries.add(count, diff.into(), || (pair, kind));
        self.characters += i64::from(diff) * i64::from(characters);
    }

    pub fn totals(&self, pair: Pair, carries: &Carries<CountKey>) -> Totals {
        let of = |kind: Kind, count: i32| carries.value(count, || (pair, kind));
        Totals {
            likes: of(Kind::Like, self.likes),
            reposts: of(Kind::Repost, self.reposts),
            replies: of(Kind::Reply, self.replies),
            quotes: of(Kind::Quote, self.quotes),
            characters: self.characters,
        }
    }
}

/// The interactions of an account with another one, or a part of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    likes: i64,
    reposts: i64,
    replies: i64,
    quotes: i64,
    characters: i64,
}

impl Totals {
    /// The largest number of bytes of [`encode`](Self::encode): five varints.
    pub const BYTES_MAX: usize = 50;

    pub fn add(&mut self, part: Self) {
        self.likes += part.likes;
        self.reposts += part.reposts;
        self.replies += part.replies;
        self.quotes += part.quotes;
        self.characters += part.characters;
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The columns of the row; `None` if all counts are zero.
    ///
    /// # Panics
    /// If a count is negative, which is only possible for a part of the interactions.
    pub fn row(&self) -> Option<InteractionRow> {
        let row = InteractionRow {
            likes: to_row_count(self.likes),
            reposts: to_row_count(self.reposts),
            replies: to_row_count(self.replies),
            quotes: to_row_count(self.quotes),
            characters: u64::try_from(self.characters).expect("a count is not negative"),
        };
        (row != InteractionRow::default()).then_some(row)
    }

    pub fn encode<'a>(&self, buffer: &'a mut [u8; Self::BYTES_MAX]) -> &'a [u8] {
        postcard::to_slice(self, buffer).expect("five varints fit")
    }

    /// # Panics
    /// If the bytes are no counts. Their checksum was correct, so this version did not write them.
    pub fn decode(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).expect("this process wrote the counts")
    }
}

const _: () = assert!(
    size_of::<(Pair, Interaction)>() == 16,
    "one is buffered for each interaction of a checkpoint"
);
