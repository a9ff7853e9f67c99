//! The metric `skytide_waits_for`.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use skytide_core::port::wait::WaitWord;

/// For each word, 1 if the pipeline waits for it, else 0.
#[derive(Debug)]
pub struct WaitMetric(Family<[(&'static str, &'static str); 1], Gauge>);

impl Default for WaitMetric {
    fn default() -> Self {
        let metric = Self(Family::default());
        metric.set(WaitWord::Recovery);
        metric
    }
}

impl WaitMetric {
    /// Exports the metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "skytide_waits_for",
            "What the pipeline waits for: 1 for the cause, 0 for all other words (docs/health.md)",
            self.0.clone(),
        );
    }

    /// Records that the pipeline waits for `word`.
    pub fn set(&self, word: WaitWord) {
        for &each in WaitWord::ALL {
            let gauge = self.0.get_or_create(&[("word", each.as_str())]);
            gauge.set(i64::from(each == word));
        }
    }
}
