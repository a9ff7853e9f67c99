//! The Prometheus metrics of ingest. The number of time series is bounded, whatever the stream
//! contains. For *network time* see [`skytide_core::time`].

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::event::Tick;
use skytide_core::id::Epoch;
use skytide_core::port::arrival::EpochTimes;
use skytide_core::port::size::{SizeGauge, SizeReporter, StateSize};
use skytide_core::time::Timestamp;

use crate::assemble::counts::Counts;

type Label = (&'static str, &'static str);

/// The metrics of ingest. Clones share the same values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    frames: Family<[Label; 1], Counter>,
    frame_bytes: Counter,
    events: Family<[Label; 2], Counter>,
    dropped: Family<[Label; 1], Counter>,
    gaps: Counter,
    missing_seqs: Counter,
    resets: Counter,
    disconnects: Counter,
    connected: Gauge,
    seq: Gauge,
    epoch: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    queue_batches: Gauge,
    queue_epochs: Gauge,
    log_errors: Counter,
    source_changes: Counter,
    coverage_gaps: Family<[Label; 1], Counter>,
    coverage_gap_ms: Counter,
    clock_behind_seconds: Gauge<f64, AtomicU64>,
    stuck: Gauge,
    untimed: Gauge,
    /// The sizes of the queues.
    pub(crate) queues: Arc<QueueSizes>,
    publish: Publish,
    arrivals: EpochTimes<Instant>,
}

/// The sizes of the queues of ingest.
#[derive(Debug, Default)]
pub(crate) struct QueueSizes {
    /// Messages of the relay that wait for the assembler, or are being processed by it.
    pub(crate) frames: SizeGauge,
    /// Messages of finished epochs that wait for the log.
    pub(crate) epochs: SizeGauge,
}

impl SizeReporter for Metrics {
    fn sizes(&self) -> Vec<StateSize> {
        vec![
            self.queues.frames.size("ingest.frames", None),
            self.queues
                .epochs
                .size("ingest.epochs", Some("FIREHOSE_TICK_EVENTS_MAX")),
        ]
    }
}

/// Upper bounds of the histogram of writes to the log, in seconds.
const PUBLISH_BUCKETS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

#[derive(Clone, Debug)]
struct Publish(Histogram);

impl Default for Publish {
    fn default() -> Self {
        Self(Histogram::new(PUBLISH_BUCKETS))
    }
}

impl Metrics {
    /// New metrics, registered under `skytide_ingest_`.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let r = registry.sub_registry_with_prefix("skytide_ingest");
        r.register("frames", "Frames read, by type", new.frames.clone());
        let help = "Bytes of the frames read";
        r.register_with_unit("frame", help, Unit::Bytes, new.frame_bytes.clone());
        let help = "Events written to the log, by collection and operation";
        r.register("events", help, new.events.clone());
        let help = "Inputs dropped in whole or in part, by reason";
        r.register("dropped", help, new.dropped.clone());
        let help = "Gaps in the relay's sequence numbers";
        r.register("seq_gaps", help, new.gaps.clone());
        let help = "Sequence numbers missing in these gaps";
        r.register("seq_missing", help, new.missing_seqs.clone());
        let help = "How often the relay's numbering restarted";
        r.register("seq_resets", help, new.resets.clone());
        let help = "Connections to the relay that were lost";
        r.register("disconnects", help, new.disconnects.clone());
        let help = "Whether a connection to the relay is open";
        r.register("connected", help, new.connected.clone());
        let help = "Newest sequence number of the relay that is durable in the log";
        r.register("seq", help, new.seq.clone());
        let help = "Newest epoch that is durable in the log";
        r.register("epoch", help, new.epoch.clone());
        let help = "How far network time is behind this machine's clock";
        r.register_with_unit("lag", help, Unit::Seconds, new.lag_seconds.clone());
        let help = "Batches of frames in the queue to the decoder";
        r.register("queue_batches", help, new.queue_batches.clone());
        let help = "Epochs in the queue to the log";
        r.register("queue_epochs", help, new.queue_epochs.clone());
        let help = "Writes to the log that failed and were retried";
        r.register("log_errors", help, new.log_errors.clone());
        let help = "How often reading changed to another relay";
        r.register("source_changes", help, new.source_changes.clone());
        let help = "Intervals of the stream that may be incomplete, by cause";
        r.register("coverage_gaps", help, new.coverage_gaps.clone());
        let help = "Network time in intervals that may be incomplete";
        r.register(
            "coverage_gap_milliseconds",
            help,
            new.coverage_gap_ms.clone(),
        );
        let help = "How far this machine's clock is behind the stream while this stops reading";
        let behind = new.clock_behind_seconds.clone();
        r.register_with_unit("clock_behind", help, Unit::Seconds, behind);
        let help = "Whether a message prevents the stream from being read further";
        r.register("stuck", help, new.stuck.clone());
        let help = "Whether the frames of the stream have no readable time";
        r.register("untimed", help, new.untimed.clone());
        let help = "Time to append one or more epochs to the log and to flush it";
        let publish = new.publish.0.clone();
        r.register_with_unit("publish_duration", help, Unit::Seconds, publish);
        new
    }

    /// When the first frame of each epoch arrived that has events. An entry is there before the
    /// epoch is in the log.
    pub fn arrivals(&self) -> EpochTimes<Instant> {
        self.arrivals.clone()
    }

    pub(crate) fn arrived(&self, epoch: Epoch, first_frame: Instant) {
        self.arrivals.record(epoch, first_frame);
    }

    pub(crate) fn published(&self, took: Duration) {
        self.publish.0.observe(took.as_secs_f64());
    }

    /// Adds one time series to each metric with labels, for the reference page of metrics: a metric
    /// without a time series is not exported.
    pub fn add_examples(&self) {
        drop(self.frames.get_or_create(&[("type", "#commit")]));
        let labels = [
            ("collection", "app.bsky.feed.like"),
            ("operation", "create"),
        ];
        drop(self.events.get_or_create(&labels));
        drop(self.dropped.get_or_create(&[("reason", "")]));
        drop(self.coverage_gaps.get_or_create(&[("cause", "")]));
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    pub(crate) fn log_error(&self) {
        self.log_errors.inc();
    }

    pub(crate) fn source_change(&self) {
        self.source_changes.inc();
    }

    pub(crate) fn clock_behind(&self, ms: Option<u64>) {
        let seconds = ms.unwrap_or(0) as f64 / 1_000.0;
        self.clock_behind_seconds.set(seconds);
    }

    pub(crate) fn stuck(&self, stuck: bool) {
        self.stuck.set(i64::from(stuck));
    }

    pub(crate) fn untimed(&self, untimed: bool) {
        self.untimed.set(i64::from(untimed));
    }

    /// Records that the queues were dropped.
    pub(crate) fn clear_queues(&self) {
        self.queues.frames.set(0, 0);
        self.queues.epochs.set(0, 0);
        self.queues(0, 0);
    }

    pub(crate) fn queues(&self, batches: usize, epochs: usize) {
        self.queue_batches.set(batches as i64);
        self.queue_epochs.set(epochs as i64);
    }

    /// Counts a durable epoch.
    pub(crate) fn epoch(&self, tick: &Tick, counts: &Counts) {
        for (kind, count) in counts.kinds() {
            self.frames.get_or_create(&[("type", kind)]).inc_by(count);
        }
        for (collection, action, count) in counts.ops() {
            let labels = [("collection", collection), ("operation", action.as_str())];
            self.events.get_or_create(&labels).inc_by(count);
        }
        for (event, count) in counts.others() {
            let labels = [("collection", ""), ("operation", event)];
            self.events.get_or_create(&labels).inc_by(count);
        }
        for (reason, count) in counts.drops() {
            let labels = [("reason", reason.as_str())];
            self.dropped.get_or_create(&labels).inc_by(count);
        }
        for (cause, count) in counts.coverage_gaps() {
            let labels = [("cause", cause.as_str())];
            self.coverage_gaps.get_or_create(&labels).inc_by(count);
        }
        self.coverage_gap_ms.inc_by(counts.coverage_gap_ms);
        self.frame_bytes.inc_by(counts.frame_bytes);
        self.gaps.inc_by(counts.gaps);
        self.missing_seqs.inc_by(counts.missing_seqs);
        self.resets.inc_by(counts.resets);
        self.disconnects.inc_by(counts.disconnects);
        self.seq.set(tick.cursor.0 as i64);
        self.epoch.set(tick.epoch.0 as i64);
    }

    pub(crate) fn lag(&self, now: Timestamp, network: Timestamp) {
        let lag_ms = now.0.saturating_sub(network.0);
        self.lag_seconds.set(lag_ms as f64 / 1_000.0);
    }
}
