//! `actors`: the counts of every account, of all time; and `top_actors` and `top_blocks`, which are counted beside.
//!
//! ```text
//! facts ─ follows, blocks: (kind, subject, author) ─ distinct ─┐
//!   └──── everything: (account, one of a counter) ─────────────┴──exchange by account──▶ counts ─▶ rows of `actors`
//!                                          window of 24 hours, boards ── at list times ─▶ lists of the other two ◀─┘
//! ```
//!
//! State: an entry per (kind, subject, author) of live follows and blocks; 52 bytes and the DID of each account, but of one
//! of which nothing is known any more. When an account was last seen is a maximum and not a sum: it is only ever added.
//! For the other two views see `top_actors`.

use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::{AsCollection, Hashable};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ActorRow, ViewId};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Concat, Operator};

use super::top_actors::{TopActors, measure};
use crate::fact::{Act, Edge, Fact, Subject};
use crate::operators::interner::Interner;
use crate::operators::lists::Output;
use crate::operators::of_facts::of_facts;
use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Quiet, Row, Time};

/// What is counted of an account. The numbers are places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Counter {
    LikesGiven,
    LikesReceived,
    RepostsGiven,
    RepostsReceived,
    Posts,
    Blocks,
    BlockRecords,
    Blockers,
    Followers,
    FollowRecords,
    Follows,
}

const COUNTERS: usize = 11;

/// The counters by which lists are ordered; they are the first ones.
pub(super) const LISTED: [Counter; 7] = [
    Counter::LikesGiven,
    Counter::LikesReceived,
    Counter::RepostsGiven,
    Counter::RepostsReceived,
    Counter::Posts,
    Counter::Blocks,
    Counter::BlockRecords,
];

/// Something that is told of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    account: Did,
    what: What,
    diff: i32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum What {
    /// One more or less; its record was first seen in this minute.
    One(Counter, Minute),
    /// The account did something in this minute.
    LastSeen(Minute),
}

/// Which relation a pair of accounts has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Relation {
    Follows,
    Blocks,
}

/// Which of the views are wanted.
#[derive(Clone, Copy, Debug)]
pub struct ActorViews {
    /// `actors`.
    pub rows: bool,
    /// `top_actors` or `top_blocks`.
    pub lists: bool,
}

/// Rows of `actors` and this worker's lists of `top_actors` and `top_blocks`.
pub fn actors<'s>(
    facts: Facts<'s>,
    clocks: Clocks<'s>,
    (worker, wanted): (usize, ActorViews),
    quiet: Quiet,
) -> StreamVec<'s, Time, Output> {
    let told = of_facts(facts.clone(), "OfActors", |fact, (_time, diff), told| {
        tell(fact, |account, what| {
            told.push(Told {
                account: account.clone(),
                what,
                diff,
            });
        });
    });
    let told = match wanted.rows {
        true => told.concat(distinct(facts)),
        false => told,
    };

    let by_account = Exchange::new(|told: &Told| told.account.hashed());
    let mut actors = Actors {
        top: wanted.lists.then(TopActors::default),
        ..Actors::default()
    };
    on_tick(
        "Actors",
        (told, by_account),
        clocks,
        move |(time, clock), told, output| {
            actors.noted = (wanted.rows && quiet.tells(ViewId::Actors, time)).then(HashMap::new);
            actors.advance(clock.now.minute());
            for told in told {
                actors.apply(told);
            }
            actors.tell_rows(time, output);
            if clock.lists || actors.top.is_none() {
                actors.settle();
            }
            if let (true, Some(top)) = (clock.lists, &mut actors.top) {
                top.lists(&actors.keys, worker, output);
            }
        },
    )
}

/// Followers and blockers: accounts with at least one such record.
fn distinct(facts: Facts<'_>) -> StreamVec<'_, Time, Told> {
    let pairs = of_facts(facts, "Edges", |fact, (time, diff), pairs| {
        let (relation, edge) = match fact {
            Fact::Follow(edge) => (Relation::Follows, edge),
            Fact::Block(edge) => (Relation::Blocks, edge),
            _ => return,
        };
        if let Some(subject) = &edge.subject {
            pairs.push(((relation, subject.clone(), edge.author.clone()), time, diff));
        }
    });
    let distinct = pairs.as_collection().distinct_total_core::<i32>().inner;
    distinct.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Followers", |_, _| {
        move |input, output| {
            input.for_each(|capability, changes| {
                for ((relation, account, _author), time, diff) in changes.drain(..) {
                    let counter = match relation {
                        Relation::Follows => Counter::Followers,
                        Relation::Blocks => Counter::Blockers,
                    };
                    let what = What::One(counter, Minute(0));
                    // A batch of changes has one stamp for all of their times.
                    let at = capability.delayed(&time, 0);
                    output.session(&at).give(Told {
                        account,
                        what,
                        diff,
                    });
                }
            });
        }
    })
}

fn tell(fact: &Fact, mut tell: impl FnMut(&Did, What)) {
    match fact {
        Fact::Like(act) => acted(act, (Counter::LikesGiven, Counter::LikesReceived), tell),
        Fact::Repost(act) => acted(act, (Counter::RepostsGiven, Counter::RepostsReceived), tell),
        Fact::Follow(edge) => related(edge, (Counter::Follows, Counter::FollowRecords), tell),
        Fact::Block(edge) => related(edge, (Counter::Blocks, Counter::BlockRecords), tell),
        Fact::Post(post) => tell(&post.key.did(), What::One(Counter::Posts, post.first_seen)),
        Fact::LastSeen(account, minute) => tell(account, What::LastSeen(*minute)),
        _ => {}
    }
}

fn acted(act: &Act, (given, received): (Counter, Counter), mut tell: impl FnMut(&Did, What)) {
    if let Some(did) = act.subject.as_ref().map(Subject::did) {
        tell(&did, What::One(received, act.first_seen));
    }
    tell(&act.author, What::One(given, act.first_seen));
}

fn related(edge: &Edge, (given, received): (Counter, Counter), mut tell: impl FnMut(&Did, What)) {
    if let Some(did) = &edge.subject {
        tell(did, What::One(received, edge.first_seen));
    }
    tell(&edge.author, What::One(given, edge.first_seen));
}

/// Counts of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// In the order of [`Counter`].
    counters: [i32; COUNTERS],
    /// The newest minute of activity; joins as a maximum.
    last_seen: Minute,
}

/// What is known of an account.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    counts: Counts,
    /// It was touched since the boards were last told, and which of its counters changed: a bit each.
    touched: bool,
    changed: u16,
}

#[derive(Default)]
struct Actors {
    keys: Interner<Did>,
    /// By the number of the key.
    states: Vec<State>,
    top: Option<TopActors>,
    /// Accounts touched since the boards were last told: that is done at list times only.
    touched: Vec<u32>,
    /// The counts before of accounts touched in the running time, if rows are told.
    noted: Option<HashMap<u32, Counts>>,
}

impl Actors {
    fn advance(&mut self, now: Minute) {
        let Self {
            top,
            states,
            touched,
            ..
        } = self;
        if let Some(top) = top {
            top.window.advance(now, |changed| {
                let (number, counter) = changed.key;
                states[number as usize].touch((number, 1 << counter as u16), touched);
            });
        }
    }

    fn apply(&mut self, told: Vec<Told>) {
        let numbers = self.keys.number_all(told.iter().map(|told| &told.account));
        let known = numbers.iter().max().map_or(0, |last| *last as usize + 1);
        if self.states.len() < known {
            self.states.resize(known, State::default());
        }
        let mut counted = Vec::with_capacity(told.len());
        for (number, Told { what, diff, .. }) in numbers.into_iter().zip(told) {
            let state = &mut self.states[number as usize];
            if let Some(noted) = &mut self.noted {
                noted.entry(number).or_insert(state.counts);
            }
            match what {
                What::One(counter, first_seen) => {
                    state.counts.counters[counter as usize] += diff;
                    state.touch((number, 1 << counter as u16), &mut self.touched);
                    if measure(counter).is_some() {
                        counted.push(((number, counter), first_seen, diff));
                    }
                }
                What::LastSeen(minute) => {
                    state.counts.last_seen = state.counts.last_seen.max(minute);
                    state.touch((number, 0), &mut self.touched);
                }
            }
        }
        if let Some(top) = &mut self.top {
            top.window.add_all(&counted);
        }
    }

    /// Tells the rows that changed.
    fn tell_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let noted = self.noted.take();
        for (number, old) in noted.into_iter().flatten() {
            let new = self.states[number as usize].counts;
            if old != new {
                let key = self.keys.key(number);
                for (counts, diff) in [(old, -1), (new, 1)] {
                    if counts != Counts::default() {
                        let row = Row::new(ViewId::Actors, key, &counts.row());
                        output.push(Output::Row((row, time, diff)));
                    }
                }
            }
        }
    }

    /// Offers what changed to the boards, forgets accounts that nothing is known of any more.
    fn settle(&mut self) {
        for number in std::mem::take(&mut self.touched) {
            let state = &mut self.states[number as usize];
            state.touched = false;
            let changed = std::mem::take(&mut state.changed);
            if let Some(top) = &mut self.top {
                top.offer(number, changed);
            }
            if state.counts == Counts::default() {
                self.keys.release(number);
            }
        }
    }
}

impl State {
    fn touch(&mut self, (number, counters): (u32, u16), touched: &mut Vec<u32>) {
        self.changed |= counters;
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(number);
        }
    }
}

impl Counts {
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
            last_seen: self.last_seen.start(),
        }
    }
}
