//! `live_records`: turns the stream of operations into exact insertions and retractions of facts.
//!
//! ```text
//! events ─▶ repo (by DID) ─ is rev newer? ─ record of (collection, rkey) ─▶ -1 old, +1 new fact
//!                         └ account hidden or shown at the end of the time ─▶ all facts -1 or +1
//! ```
//!
//! A delete names only the key of a record, so the operator stores the content of each live record.
//! Events are routed by DID: one worker sees all operations of a repo in order.
//!
//! State per live record: 40 bytes in a table of its repo, more for posts, profiles and unusual
//! records. As each repo has its own table, only the growth of a very large one can stall the
//! stream. A delete frees the state of a record. State per repo: the newest revision, the hosting
//! status, the activity rows that count it, and the keys of gone posts, which the view `posts` also
//! stores. A record ends by a delete or by the deletion of its account. Checkpoints contain the
//! state by shard (`saved`).

mod activity;
mod announcement;
mod content;
mod names;
mod open_runs;
mod partition;
mod policy;
mod repo;
pub(crate) mod saved;
mod sizes;
mod state;
mod table;

use std::cell::RefCell;
use std::rc::Rc;

use skytide_core::event::{Body, DropReason, Event, Host, Op, Origin};
use skytide_core::id::{Cursor, Did};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::rc::SharedStream;

use announcement::Announced;
#[cfg(test)]
pub(crate) use content::{Content, RecordRef};
pub(crate) use names::Names;
pub(crate) use open_runs::OpenRuns;
pub(crate) use partition::{SHARDS, worker_of};
pub use policy::AccountPolicy;
pub(crate) use saved::build_run;
pub(crate) use state::CheckpointId;
pub use state::{Drops, Gauges, LiveRecords};

use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Input, Time};

/// Builds the operator. After each time it calls `report` with the sizes of its state and the
/// inputs that it dropped.
pub fn live_records<'s>(
    inputs: StreamVec<'s, Time, Input>,
    clocks: Clocks<'s>,
    state: Rc<RefCell<LiveRecords>>,
    report: impl Fn(Gauges, Drops) + 'static,
) -> Facts<'s> {
    clocks.states.register(&state);
    let (worker, workers) = (inputs.scope().index(), inputs.scope().peers());
    let is_own = move |did: &Did| worker_of(did, workers) == worker;
    let facts = on_tick(
        "LiveRecords",
        inputs,
        Pipeline,
        clocks,
        move |time, clock, inputs, facts| {
            let mut state = state.borrow_mut();
            let mut commit = None;
            for input in inputs.into_iter().flatten() {
                match input {
                    Input::Event(event) => apply(&mut state, &mut commit, event),
                    Input::Names(names) => state.assign_names(&names),
                    Input::Counts(counts) => state.add_counters(counts),
                    Input::Coverage(tick) => state.add_coverage(tick),
                    // The checksum of the section was verified, so an unreadable section is a bug.
                    Input::Shard { saved, whole } => state
                        .load(&saved, (!whole).then_some(&is_own))
                        .expect("a section with a correct checksum is readable"),
                    Input::Accumulators(accumulators) => {
                        facts.extend(accumulators.into_iter().map(|fact| (fact, time, 1)));
                    }
                }
            }
            let drops = state.end_of_time(time, clock.now);
            state.take_facts(|(fact, diff)| facts.push((fact, time, diff)));
            report(state.gauges(), drops);
        },
    );
    facts.shared()
}

/// The commit whose operations are being applied. Either all of them are accepted or none.
///
/// The log may contain the same commit again right after it, in a later epoch. Its first index does
/// not rise then, so it is recognized as another delivery.
struct Commit {
    host: Host,
    did: Did,
    seq: Cursor,
    index: u32,
    accepted: bool,
}

impl Commit {
    /// Whether the event is a later operation of this commit.
    fn includes(&self, event: &Event) -> bool {
        let same = self.host == event.host && self.seq == event.seq && self.did == event.did;
        same && self.index < event.index
    }
}

fn apply(state: &mut LiveRecords, commit: &mut Option<Commit>, event: Event) {
    let current = commit.take().filter(|commit| commit.includes(&event));
    let Event {
        host,
        seq,
        index,
        time,
        did,
        body,
    } = event;
    let minute = time.minute();
    state.set_time(time);
    match body {
        Body::Op(op) => {
            let accepted = match current {
                Some(commit) => commit.accepted,
                None => state.accept_commit(&did, &op),
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
        Body::Identity { handle, sent } => {
            let origin = Origin::new(&host, sent);
            state.identity(&did, handle.as_deref(), Announced { time, origin });
        }
        Body::Account {
            active,
            status,
            sent,
        } => {
            let origin = Origin::new(&host, sent);
            state.account(&did, active, status, Announced { time, origin });
        }
        Body::Moved { rev, why } => state.moved(&did, minute, rev, why),
    }
}

impl LiveRecords {
    /// Compares a commit's revision with the newest one of its repo. Returns false if the commit
    /// was already applied.
    fn accept_commit(&mut self, did: &Did, op: &Op) -> bool {
        let known = self.rev(did);
        if known.is_some_and(|known| op.rev <= known) {
            return false;
        }
        if let (Some(known), Some(since)) = (known, op.since)
            && known != since
        {
            self.mark_out_of_sync(did);
        }
        self.set_rev(did, op.rev);
        true
    }
}
