//! `top_actors`, `top_blocks`: the most active and most noticed accounts of 24 hours.
//!
//! ```text
//! counts of `actors` in the window of 24 hours ─ boards ── at list times ─▶ lists
//! ```
//!
//! State: what was added to the window, the boards; the accounts and their counts stand in `actors`.

use std::cmp::Reverse;

use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::actors::{Counter, LISTED, States};
use crate::operators::lists::{Output, WorkerList};
use crate::operators::top_candidates::{Family, OVERALL, TopCandidates};
use crate::operators::windows::Windows;

/// Everything of the two views but the accounts.
#[derive(Debug)]
pub(super) struct TopActors {
    /// Of accounts by number, and of the counters that have a measure.
    pub(super) window: Windows<(u32, Counter)>,
    boards: TopCandidates<u32>,
}

impl Default for TopActors {
    fn default() -> Self {
        Self {
            window: Windows::new(&[Window::Day]),
            boards: TopCandidates::default(),
        }
    }
}

impl TopActors {
    /// Offers the counters of an account that `changed`, a bit each, to the boards; answers those that are more than zero now.
    pub fn offer(&mut self, account: u32, states: &States, changed: u16) -> u16 {
        let state = &states.accounts[account];
        let mut offered = state.offered();
        for (counter, measure) in LISTED.iter().filter_map(|&it| Some((it, measure(it)?))) {
            let bit = counter.bit();
            if changed & bit == 0 {
                continue;
            }
            let mut values = [0; 4];
            values[Window::Day as usize] = states.of_day(account, counter);
            let is_zero = values == [0; 4];
            let is_new = offered & bit == 0;
            if !(is_new && is_zero) {
                self.boards
                    .offer(family(measure), (account, is_new), values);
            }
            offered = if is_zero {
                offered & !bit
            } else {
                offered | bit
            };
        }
        offered
    }

    /// Tells this worker's lists that may have changed.
    pub fn lists(&mut self, states: &States, worker: usize, output: &mut Vec<Output>) {
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            let counter = LISTED
                .iter()
                .find(|it| measure(**it) == Some(family.measure));
            if let (Window::Day, Some(&counter)) = (window, counter) {
                let counted = states.accounts.iter();
                let counted = counted.map(|(it, ..)| (it, states.of_day(it, counter)));
                found.extend(counted.filter(|(_, count)| *count > 0));
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |account: u32| states.accounts.key(account);
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        self.boards
            .take_changed(all, order, |Family { view, measure, .. }, window, best| {
                let entry = |&(account, value): &(u32, u32)| ListEntry {
                    key: states.accounts.key(account).to_string().into(),
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
