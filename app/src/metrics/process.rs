//! Metrics of the process, with the names that Prometheus' client libraries use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::port::clock::Clock;

use crate::clock::SystemClock;
use crate::{dataflow_log, log_queue};

/// When the program began, in seconds since 1970.
static STARTED: OnceLock<f64> = OnceLock::new();

/// The time at which the program began, in seconds since 1970: that of the first call.
pub fn started() -> f64 {
    *STARTED.get_or_init(|| SystemClock.now().0 as f64 / 1e3)
}

/// Registers the metrics of the process.
pub fn register_process(registry: &mut Registry) {
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
    ];
    // A build sets it if it knows the commit.
    let commit = option_env!("SKYTIDE_COMMIT").map(|commit| ("commit", commit));
    let build: Vec<_> = build.into_iter().chain(commit).collect();
    registry.register(
        "skytide_build",
        "The build of this process",
        Info::new(build),
    );
    registry.register_collector(Box::new(ProcessCollector));
}

/// Registers the metrics of log lines.
pub fn register_log_lines(registry: &mut Registry) {
    registry.register(
        "dataflow_log_lines_dropped",
        "Lines of INDEXER_DATAFLOW_LOG dropped because its file could not be written",
        dataflow_log::dropped(),
    );
    registry.register(
        "log_lines_dropped",
        "Log lines dropped because standard error did not accept them",
        log_queue::dropped(),
    );
}

#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time at which the program began, since 1970";
        let unit = Some(&Unit::Seconds);
        let gauge =
            encoder.encode_descriptor("process_start_time", help, unit, MetricType::Gauge)?;
        ConstGauge::new(started()).encode(gauge)?;
        if let Some(seconds) = cpu_seconds() {
            let help = "CPU time of all threads of the process, in user mode and in the kernel";
            let counter =
                encoder.encode_descriptor("process_cpu", help, unit, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(counter)?;
        }
        Ok(())
    }
}

/// The CPU time of this process: `CLOCK_PROCESS_CPUTIME_ID` of clock_gettime(2).
#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn scrape(registry: &Registry, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, registry).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.trim().parse().expect("a number")
    }

    #[test]
    fn the_process_reports_its_start_its_build_and_the_cpu_time_that_it_uses() {
        let mut registry = Registry::default();
        register_process(&mut registry);
        let before = scrape(&registry, "process_cpu_seconds_total ");
        // Each scrape takes CPU time.
        while scrape(&registry, "process_cpu_seconds_total ") <= before {}
        let version = env!("CARGO_PKG_VERSION");
        let build = format!(
            r#"skytide_build_info{{version="{version}",os="{}",arch="{}""#,
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        assert!(text.contains(&build), "{text}");
        assert_eq!(scrape(&registry, "process_start_time_seconds "), started());
        assert!(started() <= SystemClock.now().0 as f64 / 1e3);
    }
}
