//! `top_actors`, `top_blocks`: the most active and most noticed accounts of 24 hours.
//!
//! ```text
//! counts of `actors` ─ (account, measure, minute) ─▶ window of 24 hours ─ boards ── at list times ─▶ lists
//! ```
//!
//! State: the window, the boards; the accounts stand in `actors`.

use std::cmp::Reverse;

use skytide_core::id::Did;
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::actors::{Counter, LISTED};
use crate::operators::boards::{Boards, Family, OVERALL};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::windows::{Place, Table, Windows};

/// Listed counters of accounts in the window of a day.
type CounterTable = Table<Counter, { LISTED.len() }, 1, 1>;

impl Place for Counter {
    const ALL: &'static [Self] = &LISTED;

    fn place(self) -> usize {
        self as usize
    }
}

/// Everything of the two views but the accounts.
#[derive(Debug)]
pub(super) struct TopActors {
    /// Of accounts by number, and of the counters that have a measure.
    pub(super) window: Windows<(u32, Counter), CounterTable>,
    boards: Boards<u32>,
}

impl Default for TopActors {
    fn default() -> Self {
        Self {
            window: Windows::new(&[Window::Day]),
            boards: Boards::default(),
        }
    }
}

impl TopActors {
    /// Offers the counters of an account that `changed`, a bit each, to the boards.
    pub fn offer(&mut self, account: u32, changed: u16) {
        for (counter, measure) in LISTED.iter().filter_map(|&it| Some((it, measure(it)?))) {
            if changed >> counter as u16 & 1 == 1 {
                let values = self.window.counts((account, counter));
                self.boards.offer(family(measure), account, values);
            }
        }
    }

    /// Tells this worker's lists that may have changed.
    pub fn lists(&mut self, accounts: &Interner<Did>, worker: usize, output: &mut Vec<Output>) {
        let Self { window, boards, .. } = self;
        let all = |family: Family, which: Window, found: &mut Vec<(u32, u32)>| {
            let counted = window.all(which);
            let counted =
                counted.filter(|((_, counter), _)| measure(*counter) == Some(family.measure));
            found.extend(counted.map(|((account, _), count)| (account, count)));
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            (Reverse(a.1), accounts.key(a.0)).cmp(&(Reverse(b.1), accounts.key(b.0)))
        };
        boards.take_changed(all, order, |Family { view, measure, .. }, window, best| {
            let entry = |&(account, value): &(u32, u32)| ListEntry {
                key: accounts.key(account).to_string().into(),
                value,
                other: 0,
                longer: value,
            };
            let key = ListKey {
                window,
                measure,
                lang: "".into(),
            };
            output.push(Output::List(WorkerList {
                view,
                key,
                worker,
                entries: best.iter().map(entry).collect(),
            }));
        });
    }
}

/// The measure of lists that are ordered by a counter.
pub(super) fn measure(counter: Counter) -> Option<Measure> {
    match counter {
        Counter::LikesGiven => Some(Measure::LikesGiven),
        Counter::LikesReceived => Some(Measure::LikesReceived),
        Counter::RepostsGiven => Some(Measure::RepostsGiven),
        Counter::RepostsReceived => Some(Measure::RepostsReceived),
        Counter::Posts => Some(Measure::Posts),
        Counter::Blocks => Some(Measure::BlocksGiven),
        Counter::BlockRecords => Some(Measure::BlocksReceived),
        Counter::Followers | Counter::FollowRecords | Counter::Follows | Counter::Blockers => None,
    }
}

fn family(measure: Measure) -> Family {
    let blocks = Measure::of(ViewId::TopBlocks).contains(&measure);
    let view = if blocks {
        ViewId::TopBlocks
    } else {
        ViewId::TopActors
    };
    Family {
        view,
        measure,
        lang: OVERALL,
    }
}
