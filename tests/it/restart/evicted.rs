//! Memory that is full until records are evicted: the source waits, the keeper makes a checkpoint
//! without a further batch, the workers evict what it contains, and the source continues.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::log::Log as _;
use skytide_dataflow::{CheckpointOptions, Metrics, Options};
use skytide_tests::meter::filling_memory;
use skytide_tests::model::recount;
use tokio::time::timeout;

use crate::recount::harness::{Case, Ground};

/// A wait ends after some seconds, or never.
const STALLED: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_is_evicted_after_a_checkpoint_and_counting_continues_exactly() {
    for workers in [1, 2] {
        let case = Case::of(12_000).with(workers, 1);
        let messages = case.world();
        let ground = Ground {
            checkpoints: Some(Arc::new(MemoryCheckpoints::new())),
            ..Ground::new()
        };
        ground.append(&messages).await;
        let metrics = Arc::<Metrics>::default();
        let events = messages.len() as u64 / 3;
        let options = Options {
            memory: Some(filling_memory(&metrics, events)),
            // Only full memory causes a checkpoint.
            checkpoint: CheckpointOptions {
                interval: None,
                events: None,
                ..CheckpointOptions::default()
            },
            ..case.dataflow()
        };
        let newest = ground.log.newest_tick().await.expect("memory answers");
        let stop = ground.store.until(newest.expect("a tick").1.epoch);
        let running = skytide_dataflow::run(options, ground.ports(), metrics.clone(), stop);
        let ended = timeout(STALLED, running).await;
        let waiting = metrics.memory_excess();
        let ended = ended.unwrap_or_else(|_| panic!("{case:?} stalls: {waiting:?}"));
        ended.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let runs = &metrics.runs;
        assert!(runs.eviction_checkpoints.get() >= 1, "{case:?}: {runs:?}");
        assert!(runs.evicted_bytes.get() > 0 && runs.look_ups.get() > 0);
        let commits = ground.store.take();
        case.compare(&recount(&messages, case.options), &commits);
    }
}
