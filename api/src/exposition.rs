//! All metrics of a process as text, in the format that the client prefers.
//!
//! ```text
//! Accept prefers application/openmetrics-text to text/plain   OpenMetrics 1.0
//! anything else, or no Accept                                 Prometheus text format 0.0.4
//! ```
//!
//! The library writes OpenMetrics. The Prometheus format has the same samples with other metadata:
//! there the metadata of a counter also has the suffix `_total`, and there are neither units nor an
//! end mark. It has no exemplars; this process does not use them.
//!
//! <https://prometheus.io/docs/instrumenting/content_negotiation/>,
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers with all metrics as text, in the format that the headers of the request prefer.
pub(crate) fn render(registry: &Registry, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut text = String::new();
    encode(&mut text, registry).map_err(|error| Problem::internal(&error))?;
    let (media_type, text) = match prefers_open_metrics(headers) {
        true => (OPEN_METRICS, text),
        false => (PROMETHEUS_TEXT, to_prometheus_text(&text)),
    };
    let headers = [(header::CONTENT_TYPE, media_type), (header::VARY, "accept")];
    Ok((headers, text).into_response())
}

/// Whether `Accept` names OpenMetrics and prefers it to `text/plain`: by a higher weight or, at the
/// same weight, by naming it first.
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let (mut open_metrics, mut plain): (u32, u32) = (0, 0);
    let mut is_first = false;
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut is_supported) = (1_000, true);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => weight = thousandths(value),
                "version" if kind == "application/openmetrics-text" => {
                    is_supported = ["1.0.0", "0.0.1"].contains(&value);
                }
                "version" => is_supported = value == "0.0.4",
                _ => {}
            }
        }
        if !is_supported {
            continue;
        }
        match kind.as_str() {
            "application/openmetrics-text" if weight > open_metrics => {
                is_first = plain == 0;
                open_metrics = weight;
            }
            "text/plain" => plain = plain.max(weight),
            _ => {}
        }
    }
    open_metrics > plain || (open_metrics == plain && open_metrics > 0 && is_first)
}

/// A weight (<https://www.rfc-editor.org/rfc/rfc9110#name-quality-values>) in thousandths; 0 if the
/// text is not a number.
pub(crate) fn thousandths(text: &str) -> u32 {
    let weight: f64 = text.parse().unwrap_or_default();
    (weight.clamp(0.0, 1.0) * 1_000.0).round() as u32
}

/// Converts OpenMetrics to the Prometheus text format.
fn to_prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The help line comes before the type line of its metric, and the type decides the suffix.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(metadata) = line.strip_prefix("# HELP ") {
            help = metadata.split_once(' ');
        } else if let Some(metadata) = line.strip_prefix("# TYPE ") {
            let (name, kind) = metadata.split_once(' ').unwrap_or((metadata, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    use super::*;

    #[track_caller]
    fn check(accept: &[&str], expected: bool) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(
                header::ACCEPT,
                HeaderValue::from_str(value).expect("a header"),
            );
        }
        assert_eq!(prefers_open_metrics(&headers), expected, "{accept:?}");
    }

    #[test]
    fn open_metrics_is_sent_to_clients_that_prefer_it() {
        check(&[], false);
        check(&[""], false);
        check(&["*/*"], false);
        check(&["text/plain"], false);
        check(&["text/html,application/xml;q=0.9,*/*;q=0.8"], false);
        check(&["application/*"], false);
        check(&["application/json"], false);
        check(&["application/openmetrics-text"], true);
        check(&["Application/OpenMetrics-Text; Version=\"1.0.0\""], true);
        check(&["application/openmetrics-text;version=2.0.0"], false);
        check(&["application/openmetrics-text;q=0"], false);
        check(&["application/openmetrics-text;q=nonsense"], false);
        check(
            &["application/openmetrics-text;q=0.4,text/plain;q=0.5"],
            false,
        );
        check(
            &["text/plain;q=0.4,application/openmetrics-text;q=0.5"],
            true,
        );
        check(&["text/plain,application/openmetrics-text"], false);
        check(&["application/openmetrics-text,text/plain"], true);
        check(
            &["text/plain;q=0.3", "application/openmetrics-text;q=0.4"],
            true,
        );
        // Prometheus 3.
        let scraper = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                       application/openmetrics-text;version=0.0.1;q=0.5,\
                       text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                       text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(&[scraper], true);
    }

    #[test]
    fn the_metadata_of_every_kind_of_metric_has_the_name_of_its_samples() {
        let mut registry = Registry::default();
        let seconds = Histogram::new([1.0]);
        seconds.observe(0.5);
        let frames = Counter::<u64>::default();
        frames.inc_by(7);
        let waits = Gauge::<i64>::default();
        registry.register("frames", "Frames read", frames);
        registry.register_with_unit("wait", "How long", Unit::Seconds, waits);
        registry.register("took", "Took \"long\"", seconds);
        registry.register("build", "Which", Info::new([("version", "1 # {x}")]));
        let mut open_metrics = String::new();
        encode(&mut open_metrics, &registry).expect("text");
        let expected = "\
# HELP frames_total Frames read.
# TYPE frames_total counter
frames_total 7
# HELP wait_seconds How long.
# TYPE wait_seconds gauge
wait_seconds 0
# HELP took Took \"long\".
# TYPE took histogram
took_sum 0.5
took_count 1
took_bucket{le=\"1.0\"} 1
took_bucket{le=\"+Inf\"} 1
# HELP build_info Which.
# TYPE build_info gauge
build_info{version=\"1 # {x}\"} 1
";
        assert_eq!(to_prometheus_text(&open_metrics), expected);
    }
}
