//! `of_facts`: what a view wants of the facts, read where they are: no view has a copy of its own.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;

use crate::fact::Fact;
use crate::types::{Facts, Time};

/// Calls `tell` for each fact, its time and difference; it adds whatever it makes of it.
pub fn flat_map_facts<'s, D: Clone + 'static>(
    facts: Facts<'s>,
    name: &str,
    mut tell: impl FnMut(&Fact, (Time, i32), &mut Vec<D>) + 'static,
) -> StreamVec<'s, Time, D> {
    facts.unary::<CapacityContainerBuilder<Vec<D>>, _, _, _>(Pipeline, name, |_, _| {
        let mut usual = 0;
        move |input, output| {
            input.for_each(|capability, facts| {
                let mut told = Vec::with_capacity(usual);
                for (fact, time, diff) in facts.iter() {
                    tell(fact, (*time, *diff), &mut told);
                }
                usual = told.len();
                if !told.is_empty() {
                    output.session(&capability).give_container(&mut told);
                }
            });
        }
    })
}
