//! `live_records`: the stream of operations becomes exact insertions and retractions of facts.
//!
//! ```text
//! events ──▶ repo (by DID) ── rev newer? ── record under (collection, rkey) ──▶ -1 what it gave, +1 what it gives
//!                         └── account hidden or shown at the end of the time: all its facts -1 or +1, once
//! ```
//!
//! A delete names only its key, so the operator remembers for each live record what it gave. Routed by DID: one worker
//! sees a repo's operations in order. State per live record: 40 bytes in its repo's own table (so only that of a very
//! large repo can stall the stream by growing), more for posts, profiles and the odd; nothing after a delete. State per repo:
//! the newest revision, the hosting status, where it was counted; the keys of posts that are gone, which the view `posts`
//! keeps, too. What ends a record: deletes; an account's deletion. Checkpoints see the state by shard (`saved`).

mod activity;
mod content;
mod names;
mod repo;
pub(crate) mod saved;
mod state;
mod table;

use std::cell::RefCell;
use std::rc::Rc;

use skytide_core::event::{Body, DropReason, Event, Host, Op};
use skytide_core::id::{Cursor, Did};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::rc::SharedStream;

#[cfg(test)]
pub(crate) use content::{Content, Place};
pub(crate) use names::Names;
pub(crate) use state::SHARDS;
pub use state::{AccountPolicy, Drops, Gauges, LiveRecords};

use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Input, Time};

/// The operator. `tell` is told its size after each time, and what was dropped in it.
pub fn live_records<'s>(
    inputs: StreamVec<'s, Time, Input>,
    clocks: Clocks<'s>,
    state: Rc<RefCell<LiveRecords>>,
    tell: impl Fn(Gauges, Drops) + 'static,
) -> Facts<'s> {
    let (worker, workers) = (inputs.scope().index(), inputs.scope().peers());
    let mine = move |did: &Did| worker_of(did, workers) == worker;
    let facts = on_tick(
        "LiveRecords",
        (inputs, Pipeline),
        clocks,
        move |(time, clock), inputs, facts| {
            let mut state = state.borrow_mut();
            let mut commit = None;
            for input in inputs.into_iter().flatten() {
                match input {
                    Input::Event(event) => apply(&mut state, &mut commit, event),
                    Input::Names(names) => state.name(&names),
                    Input::Counts(counts) => state.count_all(counts),
                    // Its checksum was compared: whatever is wrong with it is of our own making.
                    Input::Shard { section, whole } => state
                        .load(&section, (!whole).then_some(&mine))
                        .expect("a section whose checksum is right is readable"),
                    Input::Accumulators(sums) => {
                        facts.extend(sums.into_iter().map(|fact| (fact, time, 1)));
                    }
                }
            }
            let drops = state.end_of_time(time, clock.now);
            state.take_facts(|(fact, diff)| facts.push((fact, time, diff)));
            tell(state.gauges(), drops);
        },
    );
    facts.shared()
}

/// Parts into which accounts are divided among workers.
const PARTITIONS: u16 = 1024;

/// The worker that an account belongs to. A shard of a checkpoint belongs to one worker if their number divides 64.
pub(crate) fn worker_of(did: &Did, workers: usize) -> usize {
    usize::from(did.partition(PARTITIONS)) % workers
}

/// The commit whose operations are being read: all of them share its fate.
///
/// The same commit delivered again in a later epoch may follow at once: its first index then does not rise.
struct Commit {
    host: Host,
    did: Did,
    seq: Cursor,
    index: u32,
    accepted: bool,
}

impl Commit {
    fn goes_on_with(&self, event: &Event) -> bool {
        let same = self.host == event.host && self.seq == event.seq && self.did == event.did;
        same && self.index < event.index
    }
}

fn apply(state: &mut LiveRecords, commit: &mut Option<Commit>, event: Event) {
    let same = commit.take().filter(|commit| commit.goes_on_with(&event));
    let Event {
        host,
        seq,
        index,
        time,
        did,
        body,
    } = event;
    let minute = time.minute();
    match body {
        Body::Op(op) => {
            let accepted = match same {
                Some(commit) => commit.accepted,
                None => state.begin_commit(&did, &op),
            };
            *commit = Some(Commit {
                host,
                did: did.clone(),
                seq,
                index,
                accepted,
            });
            if accepted {
                state.operation(&did, op, minute);
            } else {
                state.drop_one(DropReason::RevRepeated);
            }
        }
        Body::Identity { handle } => {
            state.count_event("#identity", &did, minute);
            state.identity(&did, handle.as_deref(), time);
        }
        Body::Account { active, status } => {
            state.count_event("#account", &did, minute);
            state.account(&did, active, status);
        }
        Body::Moved { rev, why } => state.moved((&did, minute), rev, why),
    }
}

impl LiveRecords {
    /// Compares a commit's revision with the newest of its repo; false if it was applied already.
    fn begin_commit(&mut self, did: &Did, op: &Op) -> bool {
        let known = self.rev(did);
        if known.is_some_and(|known| op.rev <= known) {
            return false;
        }
        if let (Some(known), Some(since)) = (known, op.since)
            && known != since
        {
            self.out_of_sync(did);
        }
        self.set_rev(did, op.rev);
        true
    }
}
