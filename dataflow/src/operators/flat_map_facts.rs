//! `flat_map_facts`: derives a view's updates from the shared facts. The facts are read in place,
//! so no view holds a copy of them.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use crate::fact::Fact;
use crate::types::{Facts, Time};

/// Calls `logic` with each fact, its time and its difference. `logic` appends the updates that the
/// fact gives.
pub fn flat_map_facts<'s, D: Clone + 'static>(
    facts: Facts<'s>,
    name: &str,
    mut logic: impl FnMut(&Fact, Time, i32, &mut Vec<D>) + 'static,
) -> StreamVec<'s, Time, D> {
    facts.unary::<CapacityContainerBuilder<Vec<D>>, _, _, _>(Pipeline, name, |_, _| {
        let mut last_len = 0;
        move |input, output| {
            input.for_each(|capability, facts| {
                let mut updates = Vec::with_capacity(last_len);
                for (fact, time, diff) in facts.iter() {
                    logic(fact, *time, *diff, &mut updates);
                }
                last_len = updates.len();
                if !updates.is_empty() {
                    output.session(&capability).give_container(&mut updates);
                }
            });
        }
    })
}
