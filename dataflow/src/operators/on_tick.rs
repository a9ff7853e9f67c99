//! `on_tick`: an operator that sees a whole time at once, and every time, even one without data.
//!
//! ```text
//! data ──exchange──▶ stash by time ─┐
//!                                   ├─ both frontiers passed t ─▶ logic(clock, data of t) ─▶ output at t
//! clocks ───────────▶ one a time ───┘
//! ```
//!
//! Times are handled in order. State: the data of times that are not complete; the capability of each such time
//! is held by its clock. Windows need this: they change when time passes, whether anything arrives or not.

use std::collections::BTreeMap;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::{Capability, Operator};

use crate::types::{Clock, Clocks, Time};

/// Keeps the room of an empty vector for about as many as it held, so that steps of one size take memory once.
pub fn keep_room<T>(vec: &mut Vec<T>, held: usize) {
    let enough = 2 * held.max(1_024);
    if vec.capacity() > 2 * enough {
        vec.shrink_to(enough);
    }
}

/// Runs `logic` once for each time, in order, with all the data of that time, in the pieces in which it came.
pub fn on_tick<'s, D, O, P>(
    name: &str,
    (data, pact): (StreamVec<'s, Time, D>, P),
    clocks: Clocks<'s>,
    mut logic: impl FnMut((Time, Clock), Vec<Vec<D>>, &mut Vec<O>) + 'static,
) -> StreamVec<'s, Time, O>
where
    D: Clone + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<Time, Vec<D>>,
{
    data.binary_frontier(clocks, pact, Pipeline, name, |_capability, _info| {
        let mut stash = BTreeMap::<Time, Vec<Vec<D>>>::new();
        let mut due = BTreeMap::<Time, (Capability<Time>, Clock)>::new();
        let mut produced = Vec::new();
        move |(data, data_frontier), (clocks, clock_frontier), output| {
            data.for_each(|capability, items| {
                if let Some(&time) = capability.least() {
                    stash.entry(time).or_default().push(std::mem::take(items));
                }
            });
            clocks.for_each(|capability, items| {
                if let Some(capability) = capability.retain_least(0) {
                    let time = *capability.time();
                    due.extend(
                        items
                            .drain(..)
                            .map(|clock| (time, (capability.clone(), clock))),
                    );
                }
            });
            while let Some(next) = due.first_entry() {
                let time = *next.key();
                if data_frontier.less_equal(&time) || clock_frontier.less_equal(&time) {
                    break;
                }
                let (capability, clock) = next.remove();
                logic(
                    (time, clock),
                    stash.remove(&time).unwrap_or_default(),
                    &mut produced,
                );
                let count = produced.len();
                output
                    .session(&capability)
                    .give_iterator(produced.drain(..));
                keep_room(&mut produced, count);
            }
        }
    })
    .container::<Vec<_>>()
}
