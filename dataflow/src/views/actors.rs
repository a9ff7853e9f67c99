//! `actors`: the counts of every account, of all time; and `top_actors` and `top_blocks`, which are counted beside.
//!
//! ```text
//! facts ─ follows, blocks: (kind, subject, author) ─ distinct ─┐
//!   └──── everything: (account, one of a counter) ─────────────┴──exchange by account──▶ counts ─▶ rows of `actors`
//!                                          window of 24 hours, boards ── at list times ─▶ lists of the other two ◀─┘
//! ```
//!
//! State: an entry per (kind, subject, author) of live follows and blocks; per account 64 bytes, a line of the cache: its DID and
//! counts; 40 more if it has blocks or anything in the window of 24 hours. An account of which nothing is known any
//! more is forgotten. When an account was last seen is a maximum and not a sum: it is only ever added.
//! For the other two views see `top_actors`.

use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::{AsCollection, Hashable};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ActorRow, ViewId, Window};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Concat, Operator};

use super::changes::emit_change;
use super::top_actors::{TopActors, measure};
use crate::fact::{Act, Edge, Fact, Subject};
use crate::operators::count::{Carries, shown};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::{Entry, Interner};
use crate::operators::lists::Output;
use crate::operators::on_tick::on_tick;
use crate::operators::slab::{Place, Slab};
use crate::types::{Clocks, Facts, SuppressedRows, Time};

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

/// The counters of blocks: few accounts have any.
const BLOCKS: std::ops::Range<usize> = 5..8;

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
pub(super) enum What {
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
    suppressed: SuppressedRows,
) -> StreamVec<'s, Time, Output> {
    let told = flat_map_facts(facts.clone(), "OfActors", |fact, (_time, diff), told| {
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
            actors.noted =
                (wanted.rows && suppressed.emits(ViewId::Actors, time)).then(HashMap::new);
            actors.states.advance(clock.now.minute(), &mut actors.top);
            for told in told {
                actors.apply(told);
            }
            actors.tell_rows(time, output);
            if clock.lists || actors.top.is_none() {
                actors.settle();
            }
            if let (true, Some(top)) = (clock.lists, &mut actors.top) {
                top.lists(&actors.states, worker, output);
            }
        },
    )
}

/// Followers and blockers: accounts with at least one such record.
fn distinct(facts: Facts<'_>) -> StreamVec<'_, Time, Told> {
    let pairs = flat_map_facts(facts, "Edges", |fact, (time, diff), pairs| {
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
                // A batch of changes has one stamp for all of their times, and a session may cost a whole container.
                for changes in changes.chunk_by(|a, b| a.1 == b.1) {
                    let told = changes
                        .iter()
                        .map(|((relation, account, _author), _, diff)| {
                            let counter = match relation {
                                Relation::Follows => Counter::Followers,
                                Relation::Blocks => Counter::Blockers,
                            };
                            Told {
                                account: account.clone(),
                                what: What::One(counter, Minute(0)),
                                diff: *diff,
                            }
                        });
                    let at = capability.delayed(&changes[0].1, 0);
                    let mut told = told.collect();
                    output.session(&at).give_container(&mut told);
                }
            });
        }
    })
}

pub(super) fn tell(fact: &Fact, mut tell: impl FnMut(&Did, What)) {
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
    counters: [i64; COUNTERS],
    /// The newest minute of activity; joins as a maximum.
    last_seen: Minute,
}

/// What is known of an account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The counters but those of blocks.
    counters: [i32; COUNTERS - BLOCKS.end + BLOCKS.start],
    last_seen: Minute,
    /// What few accounts have, if it has any of that.
    rare: Place,
    /// It was touched since the boards were last told, and which of its counters changed: a bit each.
    touched: bool,
    changed: u16,
    /// Which counters were more than zero when the boards were last told of them, a bit each: others are on no board.
    offered: u16,
}

/// What few accounts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rare {
    /// The counters of blocks.
    blocks: [i32; BLOCKS.end - BLOCKS.start],
    /// The listed counters in the window of a day, if there are lists.
    day: [i32; LISTED.len()],
}

#[derive(Default)]
struct Actors {
    states: States,
    top: Option<TopActors>,
    /// The counts before of accounts touched in the running time, if rows are told.
    noted: Option<HashMap<u32, Counts>>,
}

/// What is known of all accounts.
#[derive(Default)]
pub(super) struct States {
    pub(super) accounts: Interner<Did, State>,
    rare: Slab<Rare>,
    /// What 32 bits do not hold of counters, of all time and (`true`) of a day.
    carries: Carries<(u32, Counter, bool)>,
    /// Accounts touched since the boards were last told: that is done at list times only.
    touched: Vec<u32>,
}

impl States {
    fn advance(&mut self, now: Minute, top: &mut Option<TopActors>) {
        if let Some(top) = top {
            top.window.advance(now, |(number, counter), diffs| {
                self.touch(number, counter.bit());
                self.slide(number, counter, diffs);
            });
        }
    }

    /// The state of an account some `counters` of which change, a bit each.
    fn touch(&mut self, number: u32, counters: u16) -> &mut State {
        let state = &mut self.accounts[number];
        state.changed |= counters;
        if !std::mem::replace(&mut state.touched, true) {
            self.touched.push(number);
        }
        state
    }

    /// Adds to a counter of all time.
    fn add(&mut self, number: u32, counter: Counter, diff: i32) {
        let place = counter as usize;
        let state = &mut self.accounts[number];
        let count = match place {
            _ if BLOCKS.contains(&place) => {
                &mut self.rare.at_mut(&mut state.rare).blocks[place - BLOCKS.start]
            }
            _ if place < BLOCKS.start => &mut state.counters[place],
            _ => &mut state.counters[place - BLOCKS.len()],
        };
        let key = || (number, counter, false);
        self.carries.add(count, diff.into(), key);
    }

    /// Adds to a listed counter in the window; `diffs` in the order of `Window::ALL`.
    fn slide(&mut self, number: u32, counter: Counter, diffs: [i32; 4]) {
        let diff = diffs[Window::Day as usize];
        if diff != 0 {
            let rare = self.rare.at_mut(&mut self.accounts[number].rare);
            let count = &mut rare.day[counter as usize];
            let key = || (number, counter, true);
            self.carries.add(count, diff.into(), key);
        }
    }

    /// A listed counter of an account in the window of a day.
    pub(super) fn of_day(&self, number: u32, counter: Counter) -> u32 {
        let rare = self.rare.at(self.accounts[number].rare);
        let count = rare.map_or(0, |rare| rare.day[counter as usize]);
        shown(self.carries.value(count, || (number, counter, true)))
    }

    fn counts(&self, number: u32) -> Counts {
        let state = &self.accounts[number];
        let (first, last) = state.counters.split_at(BLOCKS.start);
        let mut counters = [0; COUNTERS];
        counters[..BLOCKS.start].copy_from_slice(first);
        if let Some(rare) = self.rare.at(state.rare) {
            counters[BLOCKS].copy_from_slice(&rare.blocks);
        }
        counters[BLOCKS.end..].copy_from_slice(last);
        let counters = std::array::from_fn(|place| {
            let key = || (number, Counter::ALL[place], false);
            self.carries.value(counters[place], key)
        });
        Counts {
            counters,
            last_seen: state.last_seen,
        }
    }

    /// Whether anything is known of an account. To be asked when the window slid: what counts in it counts of all time.
    fn is_known(&self, number: u32) -> bool {
        let state = &self.accounts[number];
        let counted = state.counters.iter().any(|count| *count != 0) || state.rare.is_taken();
        let lives = state.last_seen != Minute::default();
        counted || lives || self.carries.any(|(of, ..)| *of == number)
    }

    /// Ends a change: answers which counters changed, a bit each. Gives back room for what came to nothing.
    fn settle(&mut self, number: u32) -> u16 {
        let state = &mut self.accounts[number];
        state.touched = false;
        self.rare.tidy(&mut state.rare);
        std::mem::take(&mut state.changed)
    }
}

impl Actors {
    fn apply(&mut self, told: Vec<Told>) {
        let accounts = told.iter().map(|told| &told.account);
        let numbers = self.states.accounts.number_all(accounts);
        for (number, Told { what, diff, .. }) in numbers.into_iter().zip(told) {
            self.apply_one(number, what, diff);
        }
    }

    fn apply_one(&mut self, number: u32, what: What, diff: i32) {
        let states = &mut self.states;
        if let Some(noted) = &mut self.noted {
            noted.entry(number).or_insert_with(|| states.counts(number));
        }
        match what {
            What::One(counter, first_seen) => {
                states.touch(number, counter.bit());
                states.add(number, counter, diff);
                if let (Some(top), Some(_)) = (&mut self.top, measure(counter)) {
                    let diffs = top.window.enter(((number, counter), first_seen), diff);
                    states.slide(number, counter, diffs);
                }
            }
            What::LastSeen(minute) => {
                let last_seen = &mut states.touch(number, 0).last_seen;
                *last_seen = minute.max(*last_seen);
            }
        }
    }

    /// Tells the rows that changed.
    fn tell_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let noted = self.noted.take();
        for (number, old) in noted.into_iter().flatten() {
            let change = (old, self.states.counts(number));
            let key = self.states.accounts.key(number);
            emit_change((ViewId::Actors, time), key, change, Counts::row, output);
        }
    }

    /// Offers what changed to the boards, forgets accounts that nothing is known of any more.
    fn settle(&mut self) {
        for number in std::mem::take(&mut self.states.touched) {
            let changed = self.states.settle(number);
            if let Some(top) = &mut self.top {
                let offered = top.offer(number, &self.states, changed);
                self.states.accounts[number].offered = offered;
            }
            if !self.states.is_known(number) {
                self.states.accounts.release(number);
            }
        }
    }
}

impl Counter {
    /// All of them, each at its place.
    const ALL: [Self; COUNTERS] = [
        Self::LikesGiven,
        Self::LikesReceived,
        Self::RepostsGiven,
        Self::RepostsReceived,
        Self::Posts,
        Self::Blocks,
        Self::BlockRecords,
        Self::Blockers,
        Self::Followers,
        Self::FollowRecords,
        Self::Follows,
    ];

    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl State {
    /// The counters that were more than zero when the boards were last told of them.
    pub(super) fn offered(&self) -> u16 {
        self.offered
    }
}

impl Counts {
    fn row(&self) -> ActorRow {
        let count = |counter: Counter| shown(self.counters[counter as usize]);
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

const _: () = assert!(
    size_of::<Entry<Did, State>>() == 64,
    "there is one for each account: a line of the cache"
);
