//! `top_actors`, `top_blocks`: the most active and most noticed accounts of 24 hours.
//!
//! ```text
//! facts ─ (account, measure, minute) ──exchange by account──▶ window of 24 hours ─ boards ── at list times ─▶ lists
//! ```
//!
//! State: the window, and 4 bytes and the DID of each account that was ever in it.

use std::cmp::Reverse;

use differential_dataflow::Hashable;
use hashbrown::HashSet;
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::vec::Map;

use crate::fact::{Act, Fact, Subject};
use crate::operators::boards::{Boards, Family, OVERALL};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::on_tick::on_tick;
use crate::operators::windows::Windows;
use crate::types::{Clocks, Facts, Time};

/// This worker's lists.
pub fn top_actors<'s>(
    facts: Facts<'s>,
    clocks: Clocks<'s>,
    worker: usize,
) -> StreamVec<'s, Time, Output> {
    let told = facts.flat_map(|(fact, _time, diff)| {
        let mut told = Vec::new();
        tell(fact, |account, measure, minute: Minute| {
            told.push((account, measure, minute, diff));
        });
        told
    });

    let by_account = Exchange::new(|(account, ..): &(Did, Measure, Minute, i32)| account.hashed());
    let mut accounts = Interner::<Did>::default();
    let mut window = Windows::<(u32, Measure)>::new(&[Window::Day]);
    let mut boards = Boards::<u32>::default();
    on_tick(
        "TopActors",
        (told, by_account),
        clocks,
        move |(_time, clock), told, output| {
            let mut touched = HashSet::new();
            window.advance(clock.now.minute(), |changed| {
                _ = touched.insert(changed.key);
            });
            for (account, measure, minute, diff) in told {
                let key = (accounts.number(&account), measure);
                window.add((key, minute), diff, |changed| {
                    _ = touched.insert(changed.key);
                });
            }
            for (account, measure) in touched {
                boards.offer(family(measure), account, window.counts((account, measure)));
            }
            if clock.lists {
                lists(&mut boards, &accounts, &window, |list| {
                    output.push(Output::List(WorkerList { worker, ..list }));
                });
            }
        },
    )
}

fn tell(fact: Fact, mut tell: impl FnMut(Did, Measure, Minute)) {
    let mut acted = |act: Act, given, received| {
        if let Some(did) = act.subject.as_ref().map(Subject::did) {
            tell(did, received, act.first_seen);
        }
        tell(act.author, given, act.first_seen);
    };
    match fact {
        Fact::Like(act) => acted(act, Measure::LikesGiven, Measure::LikesReceived),
        Fact::Repost(act) => acted(act, Measure::RepostsGiven, Measure::RepostsReceived),
        Fact::Post(post) => tell(post.key.did(), Measure::Posts, post.first_seen),
        Fact::Block(edge) => {
            if let Some(subject) = edge.subject {
                tell(subject, Measure::BlocksReceived, edge.first_seen);
            }
            tell(edge.author, Measure::BlocksGiven, edge.first_seen);
        }
        _ => {}
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

fn lists(
    boards: &mut Boards<u32>,
    accounts: &Interner<Did>,
    window: &Windows<(u32, Measure)>,
    mut tell: impl FnMut(WorkerList),
) {
    let all = |family: Family, _window: Window, found: &mut Vec<(u32, u32)>| {
        for (&(account, measure), &count) in window.sums(Window::Day).into_iter().flatten() {
            if measure == family.measure {
                found.push((account, count.unsigned_abs()));
            }
        }
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
        tell(WorkerList {
            view,
            key,
            worker: 0,
            entries: best.iter().map(entry).collect(),
        });
    });
}
