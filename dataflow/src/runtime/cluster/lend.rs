//! What a worker does that is lent to another process: what it is ordered to, until no order comes any more.

use std::sync::Arc;
use std::time::Duration;

use timely::worker::Worker;

use super::fate::Fate;
use super::post::Post;
use super::wire::Reply;
use crate::metrics::Metrics;
use crate::runtime::worker::{Done, Fed, Graph, Order, Told};
use crate::types::Shared;

/// How long it sleeps at most while it waits for an order: whatever arrives wakes it.
const IDLE: Duration = Duration::from_millis(20);

/// Runs until there are no more orders.
pub(crate) fn lend(worker: &mut Worker, metrics: &Arc<Metrics>, fate: &Fate) {
    let index = worker.index();
    let mut post = Post::build(worker);
    let told = Shared::<Vec<Told>>::default();
    let mut graph: Option<Graph> = None;
    while !fate.ended() {
        let Some((leader, order)) = post.take_order() else {
            worker.step_or_park(Some(IDLE));
            continue;
        };
        let Some(order) = order else {
            return;
        };
        let Fed { segments, end, cut } = match order {
            Order::Feed(fed) => fed,
            Order::Begin(begin) => {
                let (metrics, told) = (metrics.clone(), told.clone());
                let tell = move |gauges, drops: crate::records::Drops| {
                    metrics.record_worker(index, gauges, drops.clone());
                    told.borrow_mut().push((gauges, drops));
                };
                graph = Some(Graph::build(worker, &begin, tell));
                continue;
            }
        };
        let graph = graph.as_mut().expect("the first order is to begin");
        if !segments.is_empty() {
            let Some(settled) = graph.count(worker, segments, end, fate) else {
                return;
            };
            let done = Done { end, settled };
            post.reply(leader, Reply::Done(done, told.take()));
        }
        if let Some(cut) = cut {
            let (part, seconds) = graph.cut(cut, &end, index);
            post.reply(leader, Reply::Part(part, seconds));
        }
    }
}
