//! The age of the newest checkpoint by this machine's clock.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::port::clock::Clock;
use skytide_dataflow::Metrics;

use crate::clock::SystemClock;

/// The age of the newest complete checkpoint: this machine's clock minus network time of its first
/// cut. There is none while this process knows no complete checkpoint.
pub struct CheckpointAge {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl CheckpointAge {
    /// The age of the newest checkpoint of this dataflow.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: metrics.clone(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for CheckpointAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointAge").finish_non_exhaustive()
    }
}

impl Collector for CheckpointAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let time = self.metrics.checkpoint_time_seconds.get();
        if time == 0.0 {
            return Ok(());
        }
        let age = (self.clock.now().0 as f64 / 1e3 - time).max(0.0);
        let help = "Age of the newest complete checkpoint: the clock minus network time of its \
                    first cut";
        let unit = Some(&Unit::Seconds);
        let name = "indexer_checkpoint_age";
        let gauge = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(age).encode(gauge)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use skytide_core::port::clock::ManualClock;
    use skytide_core::time::Timestamp;

    use super::*;

    #[test]
    fn the_age_is_the_time_since_the_first_cut() {
        let metrics = Arc::new(Metrics::default());
        let clock = Arc::new(ManualClock::default());
        clock.set(Timestamp(100_500));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(CheckpointAge {
            metrics: metrics.clone(),
            clock: clock.clone(),
        }));
        let has = |expected: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).expect("text");
            assert_eq!(
                text.contains("checkpoint_age"),
                !expected.is_empty(),
                "{text}"
            );
            assert!(text.contains(expected), "{text}");
        };
        has("");
        metrics.checkpoint_time_seconds.set(90.0);
        has("indexer_checkpoint_age_seconds 10.5\n");
        // The clock is behind network time.
        clock.set(Timestamp(80_000));
        has("indexer_checkpoint_age_seconds 0.0\n");
    }
}
