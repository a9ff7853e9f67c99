//! `actors`: the counts of every account, of all time. The same operator also computes
//! `top_actors`, `top_blocks` and `top_interactions`.
//!
//! ```text
//! facts ─ follows, blocks: (relation, subject, author) ─ distinct ─┐
//!   └──── all kinds: (account, update of a counter) ───────────────┴─exchange by account─▶ counts
//!                                                                                            │
//!                                                                    rows of `actors` ◀──────┤
//!   lists of `top_actors`, `top_blocks`,                                                     │
//!            `top_interactions` ◀── when written ──── candidates, window of 24 hours ◀───────┘
//! ```
//!
//! State: an entry for each (relation, subject, author) of live follows and blocks. For each
//! account 64 bytes, one cache line: its DID and counts; 44 bytes more if it has blocks or any
//! activity in the window of 24 hours; and 40 more if it wrote or received replies or quotes in that
//! window, or acted on itself. An account is removed when nothing is known of it any more. The time
//! at which an account was last seen is a maximum, not a sum, so it is never retracted.
//! [`top_actors`](super::top_actors) describes the other three views.

use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::{AsCollection, Hashable};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::ViewId;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::account_table::{AccountCounts, AccountTable, Counter};
use super::changes::RowChange;
use super::top_actors::TopActors;
use crate::fact::{Edge, Fact, Post, Reaction, Subject};
use crate::operators::arrangement::Arrangement;
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::lists::Output;
use crate::operators::named::concatenate;
use crate::operators::on_tick::on_tick;
use crate::sizes::{HeapSize, Sizes, StateRegistry, StateSizes};
use crate::types::{Facts, SuppressedRows, Time, ViewInput};

/// An update to an account's counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ActorUpdate {
    account: Did,
    kind: ActorUpdateKind,
    diff: i32,
}

/// The kind of an update to an account.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum ActorUpdateKind {
    /// The counter changes by the difference. The record was first seen in this minute.
    Count(Counter, Minute),
    /// The account replied to another one or quoted it, or was replied to or quoted by another one.
    Conversation {
        received: bool,
        /// Unicode scalar values in the text of the post.
        characters: u32,
        first_seen: Minute,
    },
    /// The account wrote or deleted a record in this minute.
    LastSeen(Minute),
}

/// The relation between two accounts that a follow or block creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Relation {
    Follows,
    Blocks,
}

/// Which of the four views to compute.
#[derive(Clone, Copy, Debug)]
pub struct ActorViews {
    /// The rows of `actors`.
    pub rows: bool,
    /// The lists of `top_actors`, `top_blocks` or `top_interactions`.
    pub lists: bool,
}

/// Computes the rows of `actors`, and this worker's lists of `top_actors`, `top_blocks` and
/// `top_interactions`.
pub fn actors<'s>(
    input: ViewInput<'s>,
    worker: usize,
    views: ActorViews,
    suppressed: SuppressedRows,
) -> StreamVec<'s, Time, Output> {
    let ViewInput { facts, clocks } = input;
    let updates = flat_map_facts(facts.clone(), "OfActors", |fact, _time, diff, updates| {
        for_each_update(fact, |account, kind| {
            updates.push(ActorUpdate {
                account: account.clone(),
                kind,
                diff,
            });
        });
    });
    let updates = match views.rows {
        true => concatenate(
            updates.scope(),
            "ActorUpdates",
            vec![updates, distinct(facts, &clocks.states)],
        ),
        false => updates,
    };

    let by_account = Exchange::new(|update: &ActorUpdate| update.account.hashed());
    let actors = clocks.states.share(Actors {
        top: views.lists.then(TopActors::default),
        ..Actors::default()
    });
    on_tick(
        "Actors",
        updates,
        by_account,
        clocks,
        move |time, clock, updates, output| {
            let actors = &mut *actors.borrow_mut();
            let emits = views.rows && suppressed.emits(ViewId::Actors, time);
            actors.old_counts = emits.then(HashMap::new);
            actors.advance(clock.now.minute());
            for updates in updates {
                actors.apply(updates);
            }
            actors.emit_rows(time, output);
            if clock.lists || actors.top.is_none() {
                actors.process_touched();
            }
            if let (true, Some(top)) = (clock.lists, &mut actors.top) {
                top.emit_lists(&actors.table, worker, output);
            }
        },
    )
}

/// Updates of the counters of distinct followers and blockers: accounts that have at least one such
/// record.
fn distinct<'s>(facts: Facts<'s>, states: &StateRegistry) -> StreamVec<'s, Time, ActorUpdate> {
    let pairs = flat_map_facts(facts, "Edges", |fact, time, diff, pairs| {
        let (relation, edge) = match fact {
            Fact::Follow(edge) => (Relation::Follows, edge),
            Fact::Block(edge) => (Relation::Blocks, edge),
            _ => return,
        };
        if let Some(subject) = &edge.subject {
            pairs.push(((relation, subject.clone(), edge.author.clone()), time, diff));
        }
    });
    let pairs = pairs.as_collection();
    let arranged = pairs.arrange_by_self_named("Arrange: ThresholdTotal");
    states.share(Arrangement::new("actors.edges", &arranged.trace));
    let distinct = arranged.distinct_total_core::<i32>().inner;
    distinct.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Followers", |_, _| {
        move |input, output| {
            input.for_each(|capability, changes| {
                // A container of changes has one capability for all of its times. Each session may
                // cost a whole container, so all changes of one time share a session.
                for changes in changes.chunk_by(|a, b| a.1 == b.1) {
                    let updates = changes
                        .iter()
                        .map(|((relation, account, _author), _, diff)| {
                            let counter = match relation {
                                Relation::Follows => Counter::Followers,
                                Relation::Blocks => Counter::Blockers,
                            };
                            ActorUpdate {
                                account: account.clone(),
                                kind: ActorUpdateKind::Count(counter, Minute(0)),
                                diff: *diff,
                            }
                        });
                    let at = capability.delayed(&changes[0].1, 0);
                    let mut updates = updates.collect();
                    output.session(&at).give_container(&mut updates);
                }
            });
        }
    })
}

/// Calls `emit` with each update that a fact gives, and the account that it updates.
pub(super) fn for_each_update(fact: &Fact, mut emit: impl FnMut(&Did, ActorUpdateKind)) {
    use Counter as C;
    match fact {
        Fact::Like(like) => {
            reaction(like, C::LikesGiven, C::LikesReceived, &mut emit);
            not_between_accounts(Act::from(like), C::OwnLikes, C::LikesOfNobody, emit);
        }
        Fact::Repost(repost) => {
            reaction(repost, C::RepostsGiven, C::RepostsReceived, &mut emit);
            not_between_accounts(Act::from(repost), C::OwnReposts, C::RepostsOfNobody, emit);
        }
        Fact::Follow(follow) => edge(follow, C::Follows, C::FollowRecords, emit),
        Fact::Block(block) => {
            edge(block, C::Blocks, C::BlockRecords, &mut emit);
            not_between_accounts(Act::from(block), C::OwnBlocks, C::BlocksOfNobody, emit);
        }
        Fact::Post(post) => {
            let author = post.key.did();
            emit(&author, ActorUpdateKind::Count(C::Posts, post.first_seen));
            conversation(post, &author, emit);
        }
        Fact::LastSeen(account, minute) => emit(account, ActorUpdateKind::LastSeen(*minute)),
        _ => {}
    }
}

fn reaction(
    reaction: &Reaction,
    given: Counter,
    received: Counter,
    mut emit: impl FnMut(&Did, ActorUpdateKind),
) {
    let first_seen = reaction.first_seen;
    if let Some(did) = reaction.subject.as_ref().map(Subject::did) {
        emit(&did, ActorUpdateKind::Count(received, first_seen));
    }
    emit(&reaction.author, ActorUpdateKind::Count(given, first_seen));
}

fn edge(
    edge: &Edge,
    given: Counter,
    received: Counter,
    mut emit: impl FnMut(&Did, ActorUpdateKind),
) {
    if let Some(did) = &edge.subject {
        emit(did, ActorUpdateKind::Count(received, edge.first_seen));
    }
    emit(&edge.author, ActorUpdateKind::Count(given, edge.first_seen));
}

/// What one record did: who acted on whom.
struct Act<'a> {
    author: &'a Did,
    subject: Option<Did>,
    first_seen: Minute,
}

impl<'a> From<&'a Reaction> for Act<'a> {
    fn from(reaction: &'a Reaction) -> Self {
        Self {
            author: &reaction.author,
            subject: reaction.subject.as_ref().map(Subject::did),
            first_seen: reaction.first_seen,
        }
    }
}

impl<'a> From<&'a Edge> for Act<'a> {
    fn from(edge: &'a Edge) -> Self {
        Self {
            author: &edge.author,
            subject: edge.subject.clone(),
            first_seen: edge.first_seen,
        }
    }
}

/// Counts an act of an account on itself in `own`, and one on no account in `nobody`. These are
/// few, so `top_interactions` subtracts them from the counts of all acts instead of counting all
/// acts between accounts a second time.
fn not_between_accounts(
    act: Act<'_>,
    own: Counter,
    nobody: Counter,
    mut emit: impl FnMut(&Did, ActorUpdateKind),
) {
    let counter = match &act.subject {
        Some(subject) if subject != act.author => return,
        Some(_) => own,
        None => nobody,
    };
    emit(act.author, ActorUpdateKind::Count(counter, act.first_seen));
}

/// Counts a reply or quote for its author and for the account that it replies to or quotes, unless
/// they are the same.
fn conversation(post: &Post, author: &Did, mut emit: impl FnMut(&Did, ActorUpdateKind)) {
    let Some(subject) = post.subject().map(Subject::did) else {
        return;
    };
    if subject != *author {
        for (account, received) in [(author, false), (&subject, true)] {
            let update = ActorUpdateKind::Conversation {
                received,
                characters: post.characters,
                first_seen: post.first_seen,
            };
            emit(account, update);
        }
    }
}

/// The state of the operator.
#[derive(Default)]
struct Actors {
    table: AccountTable,
    top: Option<TopActors>,
    /// If rows are emitted at the current time: the previous counts of the accounts that it
    /// touched.
    old_counts: Option<HashMap<u32, AccountCounts>>,
}

impl StateSizes for Actors {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        self.table.add_sizes(sizes);
        if let Some(top) = &mut self.top {
            top.add_sizes(sizes);
        }
    }
}

impl HeapSize for ActorUpdate {
    fn heap_bytes(&self) -> usize {
        self.account.heap_bytes()
    }
}

impl HeapSize for Relation {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Actors {
    fn advance(&mut self, now: Minute) {
        let Self { table, top, .. } = self;
        if let Some(top) = top {
            top.window.advance(now, |(number, counter), diffs| {
                table.touch(number, counter.measures());
                table.add_to_day(number, counter, diffs);
            });
        }
    }

    fn apply(&mut self, updates: Vec<ActorUpdate>) {
        let accounts = updates.iter().map(|update| &update.account);
        let numbers = self.table.accounts.intern_all(accounts);
        for (number, ActorUpdate { kind, diff, .. }) in numbers.into_iter().zip(updates) {
            self.apply_one(number, kind, diff);
        }
    }

    fn apply_one(&mut self, number: u32, kind: ActorUpdateKind, diff: i32) {
        let table = &mut self.table;
        if let Some(old_counts) = &mut self.old_counts {
            old_counts
                .entry(number)
                .or_insert_with(|| table.counts(number));
        }
        match kind {
            ActorUpdateKind::Count(counter, first_seen) => {
                table.touch(number, counter.measures());
                if counter.is_of_all_time() {
                    table.add(number, counter, diff);
                }
                if counter.is_of_day() {
                    self.add_to_day(number, counter, first_seen, diff);
                }
            }
            ActorUpdateKind::Conversation {
                received,
                characters,
                first_seen,
            } => {
                let (posts, texts) = match received {
                    true => (Counter::PostsFromOthers, Counter::CharactersFromOthers),
                    false => (Counter::PostsToOthers, Counter::CharactersToOthers),
                };
                table.touch(number, posts.measures());
                // The size of a record keeps the number of its characters far below this bound.
                let characters = i32::try_from(characters).unwrap_or(i32::MAX);
                self.add_to_day(number, posts, first_seen, diff);
                self.add_to_day(number, texts, first_seen, diff * characters);
            }
            ActorUpdateKind::LastSeen(minute) => {
                let last_seen = &mut table.touch(number, 0).last_seen;
                *last_seen = minute.max(*last_seen);
            }
        }
    }

    /// Adds to a counter of an account in the window, if top lists are computed.
    fn add_to_day(&mut self, number: u32, counter: Counter, first_seen: Minute, diff: i32) {
        if let (Some(top), true) = (&mut self.top, diff != 0) {
            let diffs = top.window.enter((number, counter), first_seen, diff);
            self.table.add_to_day(number, counter, diffs);
        }
    }

    /// Emits the rows that changed.
    fn emit_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let old_counts = self.old_counts.take();
        for (number, old) in old_counts.into_iter().flatten() {
            let change = RowChange {
                view: ViewId::Actors,
                time,
                old,
                new: self.table.counts(number),
            };
            let key = self.table.accounts.key(number);
            change.emit(key, AccountCounts::row, output);
        }
    }

    /// Updates the candidates of top lists with the touched accounts, and removes accounts of which
    /// nothing is known any more.
    fn process_touched(&mut self) {
        for number in self.table.take_touched() {
            let changed = self.table.finish_change(number);
            if let Some(top) = &mut self.top {
                let candidate_for = top.update(number, &self.table, changed);
                self.table.accounts[number].candidate_for = candidate_for;
            }
            if !self.table.is_known(number) {
                self.table.accounts.release(number);
            }
        }
    }
}
