//! `top_actors`, `top_blocks`, `top_interactions`: the accounts with the highest counts given and
//! received in 24 hours. `top_interactions` leaves out what an account did to itself, and records
//! that name no account.
//!
//! ```text
//! counts of `actors` in the window of 24 hours ─▶ candidates ── when lists are written ─▶ lists
//! ```
//!
//! State: the additions to the window, and the candidates. The accounts and their counts are in the
//! table of `actors`.

use std::cmp::Reverse;

use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::account_table::{AccountTable, Counter, LISTED, bit};
use crate::operators::lists::{Output, WorkerList};
use crate::operators::top_candidates::{ListFamily, OVERALL, TopCandidates};
use crate::operators::windows::Windows;
use crate::sizes::{COLLECTIONS, Sizes, StateSizes};

/// The state of the three views, except the table of accounts.
#[derive(Debug)]
pub(super) struct TopActors {
    /// Additions to the counters of the window, by account.
    pub(super) window: Windows<(u32, Counter)>,
    candidates: TopCandidates<u32>,
}

impl Default for TopActors {
    fn default() -> Self {
        Self {
            window: Windows::new(&[Window::Day]),
            candidates: TopCandidates::default(),
        }
    }
}

impl StateSizes for TopActors {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        sizes.add("actors.window", self.window.size(), COLLECTIONS);
        sizes.add("actors.candidates", self.candidates.size(), COLLECTIONS);
    }
}

impl TopActors {
    /// Updates the candidates after a change of an account. `changed` is the bit set of the
    /// measures that may have changed. Returns the bit set of the measures that are above zero now.
    pub fn update(&mut self, account: u32, table: &AccountTable, changed: u16) -> u16 {
        let mut candidate_for = table.accounts[account].candidate_for;
        for measure in LISTED {
            let bit = bit(measure);
            if changed & bit == 0 {
                continue;
            }
            let mut values = [0; 4];
            values[Window::Day as usize] = table.day_value(account, measure);
            let is_zero = values == [0; 4];
            let is_new = candidate_for & bit == 0;
            // An account that is not a candidate and has a zero count stays out of the list.
            if !(is_new && is_zero) {
                self.candidates
                    .update(family(measure), account, is_new, values);
            }
            candidate_for = if is_zero {
                candidate_for & !bit
            } else {
                candidate_for | bit
            };
        }
        candidate_for
    }

    /// Emits this worker's lists that may have changed.
    pub fn emit_lists(&mut self, table: &AccountTable, worker: usize, output: &mut Vec<Output>) {
        let scan_all_accounts =
            |family: ListFamily, window: Window, found: &mut Vec<(u32, u32)>| {
                if window == Window::Day {
                    for (account, ..) in table.accounts.iter() {
                        let value = table.day_value(account, family.measure);
                        if value > 0 {
                            found.push((account, value));
                        }
                    }
                }
            };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |account: u32| table.accounts.key(account);
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        self.candidates.take_changed(
            scan_all_accounts,
            order,
            |ListFamily { view, measure, .. }, window, best| {
                let entry = |&(account, value): &(u32, u32)| ListEntry {
                    key: table.accounts.key(account).to_string().into(),
                    value,
                    other: table.day_characters(account, measure),
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
            },
        );
    }
}

fn family(measure: Measure) -> ListFamily {
    let views = [
        ViewId::TopActors,
        ViewId::TopBlocks,
        ViewId::TopInteractions,
    ];
    let view = views
        .into_iter()
        .find(|view| Measure::of(*view).contains(&measure));
    ListFamily {
        view: view.expect("each listed measure has a view"),
        measure,
        lang: OVERALL,
    }
}
