//! The reference page of all metrics, `docs/metrics.md`. It is generated from the registries that the
//! services fill, so it cannot differ from what `/metrics` shows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::{CheckpointAge, register_data_examples, register_log_lines, register_process};
use crate::audit::AuditMetrics;
use crate::health::metric::WaitMetric;
use crate::log_queue::LogLines;
use crate::memory_report::{MemoryCollector, ProcessMemory};

/// A metric, as the page describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name in expressions: a counter has the suffix `_total`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// Its unit; empty if it has none.
    pub unit: String,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it shows.
    pub help: String,
}

/// A group of metrics, and which services have it.
#[derive(Clone, Debug)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The services, in words.
    pub services: &'static str,
    /// The metrics, in the order of their registration.
    pub metrics: Vec<MetricDoc>,
}

/// All metrics of all services.
pub fn sections() -> Vec<Section> {
    let section = |title, services, registry: &Arc<Mutex<Registry>>| Section {
        title,
        services,
        metrics: documented(&lock(registry)),
    };
    vec![
        section("Process", "every service", &process()),
        section("Ingest", "`up`, `ingest`", &ingest()),
        section("Dataflow", "`up`, `index`", &dataflow()),
        section("API", "`up`, `serve`", &api()),
        section(
            "Probe",
            "every service that listens on `SKYTIDE_PROBE_ADDRESS`",
            &probe(),
        ),
    ]
}

fn process() -> Arc<Mutex<Registry>> {
    let registry = Arc::<Mutex<Registry>>::default();
    {
        let mut registry = lock(&registry);
        register_process(&mut registry);
        register_log_lines(&mut registry);
        register_data_examples(&mut registry);
        WaitMetric::default().register(&mut registry);
        let memory = ProcessMemory::default();
        memory.add(Arc::new(LogLines));
        registry.register_collector(Box::new(MemoryCollector(memory)));
    }
    registry
}

fn ingest() -> Arc<Mutex<Registry>> {
    let registry = Arc::<Mutex<Registry>>::default();
    skytide_ingest::Metrics::register(&mut lock(&registry)).add_examples();
    registry
}

fn dataflow() -> Arc<Mutex<Registry>> {
    let registry = Arc::<Mutex<Registry>>::default();
    {
        let mut registry = lock(&registry);
        let metrics = skytide_dataflow::Metrics::register(&mut registry, 1);
        metrics.add_examples();
        registry.register_collector(Box::new(CheckpointAge::new(&metrics)));
        AuditMetrics::register(&mut registry);
    }
    registry
}

fn api() -> Arc<Mutex<Registry>> {
    let registry = Arc::<Mutex<Registry>>::default();
    skytide_api::register_api_examples(&registry);
    registry
}

fn probe() -> Arc<Mutex<Registry>> {
    let registry = Arc::<Mutex<Registry>>::default();
    skytide_api::register_probe_examples(&registry);
    registry
}

/// The metrics of a registry, from their text form.
fn documented(registry: &Registry) -> Vec<MetricDoc> {
    let mut text = String::new();
    encode(&mut text, registry).expect("writing to a text cannot fail");
    let mut metrics: Vec<MetricDoc> = Vec::new();
    for line in text.lines() {
        if let Some((family, value)) = metadata(line, "# HELP ") {
            of(&mut metrics, family).help = value.trim_end_matches('.').to_owned();
        } else if let Some((family, value)) = metadata(line, "# TYPE ") {
            of(&mut metrics, family).kind = value.to_owned();
        } else if let Some((family, value)) = metadata(line, "# UNIT ") {
            of(&mut metrics, family).unit = value.to_owned();
        } else if !line.starts_with('#')
            && let Some(metric) = metrics.last_mut()
        {
            metric.labels = label_names(line);
        }
    }
    for metric in &mut metrics {
        match metric.kind.as_str() {
            "counter" => metric.name.push_str("_total"),
            "info" => metric.name.push_str("_info"),
            _ => {}
        }
    }
    metrics
}

fn metadata<'a>(line: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(kind)?.split_once(' ')
}

/// The metric of this family: the newest one, or a new one.
fn of<'a>(metrics: &'a mut Vec<MetricDoc>, family: &str) -> &'a mut MetricDoc {
    if metrics.last().is_none_or(|metric| metric.name != family) {
        metrics.push(MetricDoc {
            name: family.to_owned(),
            ..MetricDoc::default()
        });
    }
    metrics.last_mut().expect("one was just added")
}

/// The names of the labels in a sample, without that of the buckets.
fn label_names(sample: &str) -> Vec<String> {
    let Some((_, labels)) = sample.split_once('{') else {
        return Vec::new();
    };
    let names = labels.split("=\"").filter_map(|part| {
        let name = part.rsplit([',', '"', '{']).next()?;
        let is_name =
            !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
        (is_name && name != "le").then(|| name.to_owned())
    });
    names.collect()
}

/// The page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         All metrics at `/metrics`. This page is generated from the code\n\
         (`app/src/metrics/page.rs`); a test compares them. [alerts.md](alerts.md) has alert rules\n\
         on them, and [dataflow.md](dataflow.md) explains those of operators and workers.\n\n\
         Names are those in expressions of Prometheus: counters end in `_total`. A histogram `NAME`\n\
         has the series `NAME_bucket`, `NAME_sum` and `NAME_count`. A metric with labels, and a\n\
         metric of a part that a process lacks, is exported once it has a value.\n",
    );
    for Section {
        title,
        services,
        metrics,
    } in sections()
    {
        let _ = write!(
            page,
            "\n## {title}\n\nIn {services}.\n\n\
             | metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n"
        );
        for MetricDoc {
            name,
            kind,
            unit,
            labels,
            help,
        } in metrics
        {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            let help = help.replace('|', "\\|");
            let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
        }
    }
    page
}

/// The names of all time series, with the suffixes of histograms.
pub fn series() -> BTreeMap<String, MetricDoc> {
    let all = sections().into_iter().flat_map(|section| section.metrics);
    let named = all.flat_map(|metric| {
        let suffixes: &[&str] = match metric.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let names = suffixes
            .iter()
            .map(|suffix| format!("{}{suffix}", metric.name));
        names.map(|name| (name, metric.clone())).collect::<Vec<_>>()
    });
    named.collect()
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
