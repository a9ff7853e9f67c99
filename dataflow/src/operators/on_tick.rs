//! `on_tick`: an operator that processes all data of a time at once. It runs for every time, even
//! for one without data.
//!
//! ```text
//! data ──exchange──▶ stash by time ─┐
//!                                   ├─ both frontiers passed t ─▶ logic(clock, data of t)
//! clocks ──────▶ one for each time ─┘                                   └─▶ output at t
//! ```
//!
//! Times are processed in order. State: the data of incomplete times. The clock of each such time
//! holds the capability of that time. Windows need this operator: they change when time passes,
//! whether data arrives or not.

use std::collections::BTreeMap;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::{Capability, Operator};

use crate::types::{Clock, Clocks, Time};

/// Shrinks an empty vector whose capacity is far above `used`, the number of entries that it last
/// held. Steps of similar size thus allocate only once.
pub fn shrink_spare<T>(vec: &mut Vec<T>, used: usize) {
    let enough = 2 * used.max(1_024);
    if vec.capacity() > 2 * enough {
        vec.shrink_to(enough);
    }
}

/// Runs `logic` once for each time, in order. `logic` receives the time, its clock, all containers
/// of data of that time, and a vector that it appends its output to.
pub fn on_tick<'s, D, O, P>(
    name: &str,
    data: StreamVec<'s, Time, D>,
    pact: P,
    clocks: Clocks<'s>,
    mut logic: impl FnMut(Time, Clock, Vec<Vec<D>>, &mut Vec<O>) + 'static,
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
                let data = stash.remove(&time).unwrap_or_default();
                logic(time, clock, data, &mut produced);
                let count = produced.len();
                output
                    .session(&capability)
                    .give_iterator(produced.drain(..));
                shrink_spare(&mut produced, count);
            }
        }
    })
    .container::<Vec<_>>()
}
