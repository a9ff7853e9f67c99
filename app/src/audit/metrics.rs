//! Metrics of audits.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::port::audit::AuditReport;

/// Metrics of audits, under the prefix `indexer_audit_`.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    rows: Counter,
    differences: Counter,
    failures: Counter,
    epoch: Gauge,
    time_seconds: Gauge<f64, AtomicU64>,
    duration_seconds: Gauge<f64, AtomicU64>,
}

impl AuditMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("indexer_audit");
        registry.register(
            "rows",
            "Rows that audits counted again and compared with the stored ones",
            metrics.rows.clone(),
        );
        registry.register(
            "differences",
            "Rows that audits found to differ from the live records, to be missing or left over",
            metrics.differences.clone(),
        );
        registry.register(
            "failures",
            "Audits that were not possible",
            metrics.failures.clone(),
        );
        registry.register(
            "epoch",
            "Epoch whose rows the newest audit compared",
            metrics.epoch.clone(),
        );
        registry.register_with_unit(
            "time",
            "Network time of the epoch whose rows the newest audit compared, since 1970",
            Unit::Seconds,
            metrics.time_seconds.clone(),
        );
        registry.register_with_unit(
            "duration",
            "Duration of the newest audit",
            Unit::Seconds,
            metrics.duration_seconds.clone(),
        );
        metrics
    }

    /// Records a complete audit.
    pub fn record(&self, report: &AuditReport) {
        self.rows.inc_by(report.rows);
        self.differences.inc_by(report.differing);
        self.epoch.set(report.epoch.0 as i64);
        self.time_seconds.set(report.time.0 as f64 / 1e3);
        self.duration_seconds.set(report.seconds);
    }

    /// Records an audit that was not possible.
    pub fn record_failure(&self) {
        self.failures.inc();
    }
}
