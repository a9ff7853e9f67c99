//! Operators of timely under names of their own, so that metrics and logs show what each one does.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;

use crate::types::Time;

/// Merges streams, like timely's `concatenate`.
pub fn concatenate<'s, D: Clone + 'static>(
    scope: Scope<'s, Time>,
    name: &str,
    streams: Vec<StreamVec<'s, Time, D>>,
) -> StreamVec<'s, Time, D> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let inputs = streams.into_iter();
    let mut inputs: Vec<_> = inputs.map(|it| builder.new_input(it, Pipeline)).collect();
    for input in 0..inputs.len() {
        builder.set_notify_for(input, FrontierInterest::Never);
    }
    let (mut output, merged) = builder.new_output();
    builder.build(move |_capabilities| {
        move |_frontiers| {
            let mut output = output.activate();
            for input in &mut inputs {
                input.for_each(|capability, data| output.give(&capability, data));
            }
        }
    });
    merged
}

/// Replaces each record by the records that `logic` returns for it, like timely's `flat_map`.
pub fn flat_map<'s, D, I, L>(
    stream: StreamVec<'s, Time, D>,
    name: &str,
    mut logic: L,
) -> StreamVec<'s, Time, I::Item>
where
    D: Clone + 'static,
    I: IntoIterator<Item: Clone + 'static>,
    L: FnMut(D) -> I + 'static,
{
    stream.unary::<CapacityContainerBuilder<Vec<I::Item>>, _, _, _>(Pipeline, name, |_, _| {
        move |input, output| {
            input.for_each_stamp(|capability, data| {
                let mut session = output.session(&capability);
                for data in data {
                    session.give_iterator(data.drain(..).flat_map(&mut logic));
                }
            });
        }
    })
}

/// Removes the records for which `predicate` returns false, like timely's `filter`.
pub fn filter<'s, D: Clone + 'static>(
    stream: StreamVec<'s, Time, D>,
    name: &str,
    mut predicate: impl FnMut(&D) -> bool + 'static,
) -> StreamVec<'s, Time, D> {
    stream.unary::<CapacityContainerBuilder<Vec<D>>, _, _, _>(Pipeline, name, |_, _| {
        move |input, output| {
            input.for_each_stamp(|capability, data| {
                let mut session = output.session(&capability);
                for data in data {
                    data.retain(&mut predicate);
                    session.give_container(data);
                }
            });
        }
    })
}
