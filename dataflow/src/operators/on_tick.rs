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

use crate::sizes::{
    BATCH_EVENTS, HeapSize, Size, Sizes, StateSizes, btree_bytes, sampled_heap_bytes, vec_bytes,
};
use crate::types::{Clock, Clocks, Time};

/// Shrinks an empty vector whose capacity is far above `used`, the number of entries that it last
/// held. Steps of similar size thus allocate only once.
pub fn shrink_spare<T>(vec: &mut Vec<T>, used: usize) {
    let enough = 2 * used.max(1_024);
    if vec.capacity() > 2 * enough {
        vec.shrink_to(enough);
    }
}

/// The data of incomplete times, and the output of the time that is processed.
struct Stash<D, O> {
    /// The name under which its size is reported.
    name: String,
    by_time: BTreeMap<Time, Vec<Vec<D>>>,
    produced: Vec<O>,
}

impl<D: HeapSize, O> StateSizes for Stash<D, O> {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let data = self.by_time.values().flatten();
        let entries = data.clone().map(Vec::len).sum();
        let containers: usize = self.by_time.values().map(vec_bytes).sum();
        let bytes = btree_bytes::<Time, Vec<Vec<D>>>(self.by_time.len())
            + containers
            + data.clone().map(vec_bytes).sum::<usize>()
            + sampled_heap_bytes(data.map(Vec::as_slice))
            + vec_bytes(&self.produced);
        sizes.add(&self.name, Size { entries, bytes }, BATCH_EVENTS);
    }
}

/// The name of an operator in the names of sizes: `LiveRecords` becomes `live_records`.
fn snake_case(operator: &str) -> String {
    let mut name = String::new();
    for letter in operator.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Runs `logic` once for each time, in order. `logic` receives the time, its clock, all containers
/// of data of that time, and a vector that it appends its output to. The size of the data that
/// waits is reported as the operator's `stash`.
pub fn on_tick<'s, D, O, P>(
    name: &str,
    data: StreamVec<'s, Time, D>,
    pact: P,
    clocks: Clocks<'s>,
    mut logic: impl FnMut(Time, Clock, Vec<Vec<D>>, &mut Vec<O>) + 'static,
) -> StreamVec<'s, Time, O>
where
    D: Clone + HeapSize + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<Time, Vec<D>>,
{
    let Clocks { ticks, states } = clocks;
    let stash = states.share(Stash {
        name: format!("{}.stash", snake_case(name)),
        by_time: BTreeMap::new(),
        produced: Vec::new(),
    });
    data.binary_frontier(ticks, pact, Pipeline, name, |_capability, _info| {
        let mut due = BTreeMap::<Time, (Capability<Time>, Clock)>::new();
        move |(data, data_frontier), (clocks, clock_frontier), output| {
            let Stash {
                by_time, produced, ..
            } = &mut *stash.borrow_mut();
            data.for_each(|capability, items| {
                if let Some(&time) = capability.least() {
                    by_time.entry(time).or_default().push(std::mem::take(items));
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
                let data = by_time.remove(&time).unwrap_or_default();
                logic(time, clock, data, produced);
                let count = produced.len();
                output
                    .session(&capability)
                    .give_iterator(produced.drain(..));
                shrink_spare(produced, count);
            }
        }
    })
    .container::<Vec<_>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operators_become_names_of_sizes() {
        assert_eq!(snake_case("LiveRecords"), "live_records");
        assert_eq!(snake_case("Posts"), "posts");
    }

    #[test]
    fn the_size_of_a_stash_includes_what_its_data_points_to() {
        let text = |bytes: usize| -> Box<str> { "x".repeat(bytes).into() };
        let mut stash = Stash {
            name: "posts.stash".to_owned(),
            by_time: [(7, vec![vec![text(10), text(20)], vec![text(30)]])].into(),
            produced: Vec::<u64>::with_capacity(4),
        };
        let mut sizes = Sizes::default();
        stash.add_sizes(&mut sizes);
        let data = 60 + 3 * size_of::<Box<str>>() + 2 * size_of::<Vec<()>>() + 4 * 8;
        let tree = btree_bytes::<Time, Vec<Vec<Box<str>>>>(1);
        let [size] = &sizes.into_report(0)[..] else {
            panic!("one structure");
        };
        assert_eq!((size.entries, size.bytes), (3, (data + tree) as u64));
    }
}
