//! `actors`: the counts of every account, of all time.
//!
//! ```text
//! facts ─ follows, blocks: (kind, subject, author) ─ distinct ─┐
//!   └──── everything: (account, one of a counter) ─────────────┴─ arrange ─ count_total ─▶ rows
//! ```
//!
//! State: an entry per (kind, subject, author) of live follows and blocks; an entry per account.
//! When an account was last seen is a maximum and not a sum: it is only ever added, so the difference need be no group.

use differential_dataflow::AsCollection;
use differential_dataflow::difference::{IsZero, Monoid, Semigroup};
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ActorRow, ViewId};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use crate::fact::{Act, Edge, Fact, Subject};
use crate::types::{Facts, Quiet, Row, Rows};

/// Counters of an account, as a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counts {
    /// In the order of [`Counter`].
    counters: [i32; 11],
    /// The newest minute of activity; joins as a maximum.
    last_seen: u32,
}

#[derive(Clone, Copy)]
enum Counter {
    Followers,
    FollowRecords,
    Follows,
    Blockers,
    BlockRecords,
    Blocks,
    Posts,
    LikesGiven,
    LikesReceived,
    RepostsGiven,
    RepostsReceived,
}

/// Which relation a pair of accounts has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Relation {
    Follows,
    Blocks,
}

/// Rows of `actors`.
pub fn actors<'s>(facts: Facts<'s>, quiet: Quiet) -> Rows<'s> {
    let pairs = facts.clone().flat_map(|(fact, time, diff)| {
        let (relation, edge) = match fact {
            Fact::Follow(edge) => (Relation::Follows, edge),
            Fact::Block(edge) => (Relation::Blocks, edge),
            _ => return None,
        };
        edge.subject
            .map(|subject| ((relation, subject, edge.author), time, diff))
    });
    let distinct = pairs.as_collection().distinct_total_core::<i32>();
    let distinct = distinct
        .inner
        .map(|((relation, subject, _author), time, diff)| {
            let counter = match relation {
                Relation::Follows => Counter::Followers,
                Relation::Blocks => Counter::Blockers,
            };
            (subject, time, Counts::of(counter, diff))
        });

    let counts = facts.flat_map(|(fact, time, diff)| {
        let mut counts = Vec::new();
        match fact {
            Fact::LastSeen(account, Minute(last_seen)) => {
                counts.push((
                    account,
                    time,
                    Counts {
                        last_seen,
                        ..Counts::default()
                    },
                ));
            }
            fact => tell(fact, |account, counter| {
                counts.push((account, time, Counts::of(counter, diff)));
            }),
        }
        counts
    });

    let by_account = counts
        .concat(distinct)
        .as_collection()
        .arrange_by_self_named("Actors");
    let counted = by_account.count_total_core::<i32>();

    counted
        .inner
        .flat_map(move |((account, counts), time, diff)| {
            let tells = quiet.tells(ViewId::Actors, time) && !counts.is_zero();
            let row = tells.then(|| Row::new(ViewId::Actors, &account, &counts.row()));
            row.map(|row| (row, time, diff))
        })
}

fn tell(fact: Fact, mut tell: impl FnMut(Did, Counter)) {
    let mut acted = |act: Act, given, received| {
        if let Some(did) = act.subject.as_ref().map(Subject::did) {
            tell(did, received);
        }
        tell(act.author, given);
    };
    match fact {
        Fact::Like(act) => acted(act, Counter::LikesGiven, Counter::LikesReceived),
        Fact::Repost(act) => acted(act, Counter::RepostsGiven, Counter::RepostsReceived),
        Fact::Follow(Edge {
            author, subject, ..
        }) => {
            tell(author, Counter::Follows);
            if let Some(subject) = subject {
                tell(subject, Counter::FollowRecords);
            }
        }
        Fact::Block(Edge {
            author, subject, ..
        }) => {
            tell(author, Counter::Blocks);
            if let Some(subject) = subject {
                tell(subject, Counter::BlockRecords);
            }
        }
        Fact::Post(post) => tell(post.key.did(), Counter::Posts),
        _ => {}
    }
}

impl Counts {
    fn of(counter: Counter, count: i32) -> Self {
        let mut counts = Self::default();
        counts.counters[counter as usize] = count;
        counts
    }

    fn row(&self) -> ActorRow {
        let count = |counter: Counter| {
            let count = self.counters[counter as usize];
            u32::try_from(count).expect("a count of live records is not negative")
        };
        ActorRow {
            followers: count(Counter::Followers),
            follow_records: count(Counter::FollowRecords),
            follows: count(Counter::Follows),
            blockers: count(Counter::Blockers),
            block_records: count(Counter::BlockRecords),
            blocks: count(Counter::Blocks),
            posts: count(Counter::Posts),
            likes_given: count(Counter::LikesGiven),
            likes_received: count(Counter::LikesReceived),
            reposts_given: count(Counter::RepostsGiven),
            reposts_received: count(Counter::RepostsReceived),
            last_seen: Minute(self.last_seen).start(),
        }
    }
}

impl IsZero for Counts {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Counts {
    fn plus_equals(&mut self, other: &Self) {
        for (counter, more) in self.counters.iter_mut().zip(other.counters) {
            *counter += more;
        }
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

impl Monoid for Counts {
    fn zero() -> Self {
        Self::default()
    }
}
