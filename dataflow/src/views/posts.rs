//! `posts`: the tallies of every post, of all time.
//!
//! ```text
//! facts ─ to (post, tally) ─ arrange by post ─ count_total ─▶ (post, tallies) ─▶ rows
//! ```
//!
//! State: one arrangement, per post one difference of 12 counters; a post's entry vanishes when all of them are zero,
//! which for a post that was once seen is never.

use differential_dataflow::AsCollection;
use differential_dataflow::difference::{IsZero, Monoid, Semigroup};
use differential_dataflow::operators::CountTotal;
use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::view::{PostRow, PostState, ViewId};
use timely::dataflow::operators::vec::Map;

use crate::fact::{Act, Fact, Post, Subject};
use crate::types::{Facts, Quiet, Row, Rows};

/// Counters of a post, as a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tallies {
    likes: i32,
    reposts: i32,
    replies: i32,
    root_replies: i32,
    quotes: i32,
    self_likes: i32,
    self_reposts: i32,
    self_replies: i32,
    self_root_replies: i32,
    self_quotes: i32,
    /// 1 while its record is live.
    live: i32,
    /// How often it came to exist.
    seen: i32,
}

/// Rows of `posts`.
pub fn posts<'s>(facts: Facts<'s>, quiet: Quiet) -> Rows<'s> {
    let tallies = facts.flat_map(|(fact, time, diff)| {
        let mut tallies = Vec::new();
        tell(&fact, |post, mut one: Tallies| {
            one.scale(diff);
            tallies.push((post, time, one));
        });
        tallies
    });

    let by_post = tallies.as_collection().arrange_by_self_named("Posts");
    let counted = by_post.count_total_core::<i32>();

    counted
        .inner
        .flat_map(move |((post, tallies), time, diff)| {
            let tells = quiet.tells(ViewId::Posts, time) && !tallies.is_zero();
            let row = tells.then(|| Row::new(ViewId::Posts, &post, &tallies.row()));
            row.map(|row| (row, time, diff))
        })
}

fn tell(fact: &Fact, mut tell: impl FnMut(PostKey, Tallies)) {
    let none = Tallies::default();
    match fact {
        Fact::Like(act) => acted(act, Tallies { likes: 1, ..none }, &mut tell),
        Fact::Repost(act) => acted(act, Tallies { reposts: 1, ..none }, &mut tell),
        Fact::Post(post) => {
            refers(
                post,
                post.parent.as_ref(),
                Tallies { replies: 1, ..none },
                &mut tell,
            );
            refers(
                post,
                post.root.as_ref(),
                Tallies {
                    root_replies: 1,
                    ..none
                },
                &mut tell,
            );
            refers(
                post,
                post.quote.as_ref(),
                Tallies { quotes: 1, ..none },
                &mut tell,
            );
            tell(post.key.clone(), Tallies { live: 1, ..none });
        }
        Fact::BarePost(post) => tell(post.clone(), Tallies { live: 1, ..none }),
        Fact::Seen(post) => tell(post.clone(), Tallies { seen: 1, ..none }),
        _ => {}
    }
}

fn acted(act: &Act, one: Tallies, tell: &mut impl FnMut(PostKey, Tallies)) {
    if let Some(post) = act.subject.as_ref().and_then(Subject::post) {
        let one = if post.did() == act.author {
            one.by_its_author()
        } else {
            one
        };
        tell(post.clone(), one);
    }
}

fn refers(by: &Post, to: Option<&Subject>, one: Tallies, tell: &mut impl FnMut(PostKey, Tallies)) {
    if let Some(post) = to.and_then(Subject::post) {
        let one = if post.did() == by.key.did() {
            one.by_its_author()
        } else {
            one
        };
        tell(post.clone(), one);
    }
}

impl Tallies {
    /// The same, counted among those by the post's author, too.
    fn by_its_author(self) -> Self {
        Self {
            self_likes: self.likes,
            self_reposts: self.reposts,
            self_replies: self.replies,
            self_root_replies: self.root_replies,
            self_quotes: self.quotes,
            ..self
        }
    }

    fn counters(&mut self) -> [&mut i32; 12] {
        [
            &mut self.likes,
            &mut self.reposts,
            &mut self.replies,
            &mut self.root_replies,
            &mut self.quotes,
            &mut self.self_likes,
            &mut self.self_reposts,
            &mut self.self_replies,
            &mut self.self_root_replies,
            &mut self.self_quotes,
            &mut self.live,
            &mut self.seen,
        ]
    }

    fn scale(&mut self, factor: i32) {
        for counter in self.counters() {
            *counter *= factor;
        }
    }

    fn row(&self) -> PostRow {
        let count = |n: i32| u32::try_from(n).expect("a count of live records is not negative");
        PostRow {
            likes: count(self.likes),
            reposts: count(self.reposts),
            replies: count(self.replies),
            root_replies: count(self.root_replies),
            quotes: count(self.quotes),
            self_likes: count(self.self_likes),
            self_reposts: count(self.self_reposts),
            self_replies: count(self.self_replies),
            self_root_replies: count(self.self_root_replies),
            self_quotes: count(self.self_quotes),
            state: match (self.live, self.seen) {
                (0, 0) => PostState::NeverSeen,
                (0, _) => PostState::Gone,
                _ => PostState::Live,
            },
        }
    }
}

impl IsZero for Tallies {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Tallies {
    fn plus_equals(&mut self, other: &Self) {
        let mut other = *other;
        for (counter, more) in self.counters().into_iter().zip(other.counters()) {
            *counter += *more;
        }
    }
}

impl Monoid for Tallies {
    fn zero() -> Self {
        Self::default()
    }
}
