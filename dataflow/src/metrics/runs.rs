//! Metrics of the runs that contain live records.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What checkpoints write, and what workers read from them.
#[derive(Debug, Default)]
pub struct RunMetrics {
    /// Bytes of sections that were written for checkpoints, with those of merged runs.
    pub written_bytes: Counter,
    /// Runs of live records in the newest complete checkpoint.
    pub runs: Gauge,
    /// How often runs were merged.
    pub merges: Counter,
    /// Runs that were verified after a checkpoint.
    pub verified: Counter,
    /// Failures to read or share a run of the previous checkpoint.
    pub failures: Counter,
    /// Live records that are only on disk.
    pub evicted: Gauge,
    /// Bytes of memory that were released by moving state to disk.
    pub evicted_bytes: Counter,
    /// Checkpoints that were requested before their time, so that more can be evicted.
    pub eviction_checkpoints: Counter,
    /// Look-ups of records that were not in memory.
    pub look_ups: Counter,
    /// Look-ups for which a filter did not exclude a run, so that a block was read.
    pub reads: Counter,
    /// Look-ups that found a record.
    pub found: Counter,
}

impl RunMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "checkpoint_written",
            "Bytes written for checkpoints, with those of merged runs",
            Unit::Bytes,
            self.written_bytes.clone(),
        );
        registry.register(
            "checkpoint_runs",
            "Runs of live records in the newest complete checkpoint",
            self.runs.clone(),
        );
        registry.register(
            "run_merges",
            "Merges of runs of live records into one",
            self.merges.clone(),
        );
        registry.register(
            "run_verifications",
            "Runs of live records that were read and verified after a checkpoint",
            self.verified.clone(),
        );
        registry.register(
            "run_failures",
            "Runs of live records that were damaged or missing, or could not be read",
            self.failures.clone(),
        );
        registry.register(
            "evicted_records",
            "Live records that are only on disk, in runs",
            self.evicted.clone(),
        );
        registry.register_with_unit(
            "evicted",
            "Memory that was released by moving state to disk",
            Unit::Bytes,
            self.evicted_bytes.clone(),
        );
        registry.register(
            "eviction_checkpoints",
            "Checkpoints requested before their time, so that more state can be moved to disk",
            self.eviction_checkpoints.clone(),
        );
        registry.register(
            "run_look_ups",
            "Look-ups of live records in runs, because they were not in memory",
            self.look_ups.clone(),
        );
        registry.register(
            "run_reads",
            "Blocks of runs that look-ups read, because a filter did not exclude the record",
            self.reads.clone(),
        );
        registry.register(
            "run_look_ups_found",
            "Look-ups of live records in runs that found the record",
            self.found.clone(),
        );
    }
}
