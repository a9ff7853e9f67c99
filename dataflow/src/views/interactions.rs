//! `interactions`: who acted on whom, by day.
//!
//! ```text
//! facts ─ (author, day, subject), what was done ──exchange──▶ sum in its day ─▶ rows
//!                                                              └─ a day that is over: its rows leave, shard by shard
//! ```
//!
//! State: an entry per (author, day, subject) of the days that are kept. A day is many rows at network scale, so it
//! leaves in 256 parts, one an epoch; whoever reads asks for days that are kept only, and does not meet them.

use std::collections::BTreeMap;

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::vec::Map;

use super::sums::Touched;
use crate::fact::{Act, Fact, Post, Subject};
use crate::operators::interner::Interner;
use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Row, Rows, Time};

/// Parts in which a day leaves: by the partition of the author, the same on any number of workers.
const SHARDS: u16 = 256;

/// What an account did to another one, more or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Acts {
    likes: i32,
    reposts: i32,
    replies: i32,
    quotes: i32,
    characters: i64,
}

/// Rows of `interactions`, of the last `days_kept` days with the open one, or for ever.
pub fn interactions<'s>(facts: Facts<'s>, clocks: Clocks<'s>, days_kept: Option<u32>) -> Rows<'s> {
    let acts = facts.flat_map(|(fact, _time, diff)| {
        act_of(&fact).map(|(key, mut acts)| {
            acts.scale(diff);
            (key, acts)
        })
    });

    let by_pair =
        Exchange::new(|(key, _): &(InteractionKey, Acts)| (&key.author, &key.subject).hashed());
    let mut days = Days::default();
    let mut newest = 0;
    on_tick(
        "Interactions",
        (acts, by_pair),
        clocks,
        move |(time, clock), acts, rows| {
            let first_day = days_kept.map_or(0, |days| (clock.now.day() + 1).saturating_sub(days));
            let mut touched = Touched::<InteractionKey, InteractionRow>::new();
            for (key, acts) in acts {
                if key.day >= first_day {
                    let sum = days.sum(&key);
                    touched.touch(&key, || sum.row());
                    sum.add(&acts);
                }
            }
            touched.tell((ViewId::Interactions, time), |key| days.settle(key), rows);
            let epochs = time - newest;
            newest = time;
            for _ in 0..epochs {
                if !days.leave(first_day, time, rows) {
                    break;
                }
            }
        },
    )
}

/// Sums by day and shard, pairs of accounts by number.
#[derive(Default)]
struct Days {
    dids: Interner<Did>,
    shards: BTreeMap<(u32, u16), HashMap<(u32, u32), Acts>>,
}

impl Days {
    fn pair(&mut self, key: &InteractionKey) -> (u32, u32) {
        (
            self.dids.number(&key.author),
            self.dids.number(&key.subject),
        )
    }

    fn sum(&mut self, key: &InteractionKey) -> &mut Acts {
        let pair = self.pair(key);
        let shard = (key.day, key.author.partition(SHARDS));
        self.shards
            .entry(shard)
            .or_default()
            .entry(pair)
            .or_default()
    }

    /// The row of a key that was touched; forgets a sum that came to nothing.
    fn settle(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let row = self.sum(key).row();
        if row.is_none() {
            let pair = self.pair(key);
            let shard = (key.day, key.author.partition(SHARDS));
            if let Some(sums) = self.shards.get_mut(&shard) {
                sums.remove(&pair);
                if sums.is_empty() {
                    self.shards.remove(&shard);
                }
            }
        }
        row
    }

    /// Takes away one shard of a day before `first_day`; false if there is none.
    fn leave(&mut self, first_day: u32, time: Time, rows: &mut Vec<(Row, Time, i32)>) -> bool {
        let Some(oldest) = self.shards.first_entry().filter(|o| o.key().0 < first_day) else {
            return false;
        };
        let ((day, _), sums) = oldest.remove_entry();
        for ((author, subject), acts) in sums {
            let did = |number| self.dids.key(number).clone();
            let key = InteractionKey {
                author: did(author),
                day,
                subject: did(subject),
            };
            rows.extend(
                acts.row()
                    .map(|row| (Row::new(ViewId::Interactions, &key, &row), time, -1)),
            );
        }
        true
    }
}

fn act_of(fact: &Fact) -> Option<(InteractionKey, Acts)> {
    let none = Acts::default();
    match fact {
        Fact::Like(act) => acted(act, Acts { likes: 1, ..none }),
        Fact::Repost(act) => acted(act, Acts { reposts: 1, ..none }),
        Fact::Post(post) => posted(post),
        _ => None,
    }
}

fn acted(act: &Act, acts: Acts) -> Option<(InteractionKey, Acts)> {
    let subject = act.subject.as_ref()?.did();
    pair(act.author.clone(), subject, act.first_seen, acts)
}

/// A post is a reply or a quote of one account, reply first.
fn posted(post: &Post) -> Option<(InteractionKey, Acts)> {
    let characters = i64::from(post.characters);
    let (subject, acts) = match (&post.parent, &post.quote) {
        (Some(parent), _) => (
            parent,
            Acts {
                replies: 1,
                characters,
                ..Acts::default()
            },
        ),
        (None, Some(quote)) => (
            quote,
            Acts {
                quotes: 1,
                characters,
                ..Acts::default()
            },
        ),
        (None, None) => return None,
    };
    pair(post.key.did(), Subject::did(subject), post.first_seen, acts)
}

/// Acts on oneself are left out.
fn pair(
    author: Did,
    subject: Did,
    first_seen: Minute,
    acts: Acts,
) -> Option<(InteractionKey, Acts)> {
    let day = first_seen.start().day();
    (author != subject).then_some((
        InteractionKey {
            author,
            day,
            subject,
        },
        acts,
    ))
}

impl Acts {
    fn add(&mut self, other: &Self) {
        self.likes += other.likes;
        self.reposts += other.reposts;
        self.replies += other.replies;
        self.quotes += other.quotes;
        self.characters += other.characters;
    }

    fn scale(&mut self, factor: i32) {
        self.likes *= factor;
        self.reposts *= factor;
        self.replies *= factor;
        self.quotes *= factor;
        self.characters *= i64::from(factor);
    }

    fn row(&self) -> Option<InteractionRow> {
        let count = |n: i32| u32::try_from(n).expect("a count of live records is not negative");
        (*self != Self::default()).then(|| InteractionRow {
            likes: count(self.likes),
            reposts: count(self.reposts),
            replies: count(self.replies),
            quotes: count(self.quotes),
            characters: u64::try_from(self.characters).expect("a count is not negative"),
        })
    }
}
