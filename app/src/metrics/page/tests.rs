//! The page is what the code registers; dashboard and alert rules use metrics that exist.

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect_file;
use promql_parser::parser::{Expr, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

use super::*;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Collects the selectors of an expression.
#[derive(Default)]
struct Selectors(Vec<VectorSelector>);

impl ExprVisitor for Selectors {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        match expr {
            Expr::VectorSelector(selector) => self.0.push(selector.clone()),
            Expr::MatrixSelector(range) => self.0.push(range.vs.clone()),
            _ => {}
        }
        Ok(true)
    }
}

/// Labels that Prometheus or the configuration of the scrape adds.
const OUTSIDE_LABELS: [&str; 3] = ["job", "instance", "service"];

/// Checks that an expression of PromQL is valid, and that its metrics and labels exist.
#[track_caller]
fn check(expression: &str, known: &BTreeMap<String, MetricDoc>) -> BTreeSet<String> {
    // Variables of Grafana, which it replaces.
    let expression = expression.replace("$__rate_interval", "1m");
    let parsed = parse(&expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
    let mut selectors = Selectors::default();
    let Ok(_) = walk_expr(&mut selectors, &parsed);
    let mut used = BTreeSet::new();
    for selector in selectors.0 {
        let name = selector.name.unwrap_or_default();
        // Prometheus itself makes the series `up` for each target.
        if name == "up" {
            continue;
        }
        let metric = known
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not a metric: {expression}"));
        for matcher in &selector.matchers.matchers {
            let label = matcher.name.as_str();
            let exists = metric.labels.iter().any(|it| it == label);
            assert!(
                exists || label == "le" || OUTSIDE_LABELS.contains(&label),
                "{name} has no label {label}: {expression}"
            );
        }
        used.insert(name);
    }
    used
}

#[test]
fn the_page_of_metrics_is_what_the_services_register() {
    expect_file!["../../../../docs/metrics.md"].assert_eq(&markdown());
}

#[test]
fn every_metric_has_a_name_of_its_own_a_type_and_a_meaning() {
    let mut names = BTreeSet::new();
    for metric in sections().into_iter().flat_map(|section| section.metrics) {
        let name = &metric.name;
        assert!(names.insert(name.clone()), "{name} is registered twice");
        assert!(metric.help.len() > 4, "{metric:?}");
        let kinds = ["counter", "gauge", "histogram", "info"];
        assert!(kinds.contains(&metric.kind.as_str()), "{metric:?}");
    }
    assert!(
        names.contains("indexer_operator_busy_seconds_total"),
        "{names:?}"
    );
    assert!(names.contains("skytide_ingest_dropped_total"), "{names:?}");
    let dropped = &series()["skytide_ingest_dropped_total"];
    assert_eq!(dropped.labels, ["reason"]);
}

#[test]
fn the_dashboard_uses_metrics_that_exist() {
    let known = series();
    let dashboard = read("deploy/grafana/dashboards/skytide.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut ids = BTreeSet::new();
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let place = &panel["gridPos"];
        let (x, width) = (place["x"].as_u64(), place["w"].as_u64());
        assert!(
            x.zip(width).is_some_and(|(x, width)| x + width <= 24),
            "{title}"
        );
        let targets = panel["targets"].as_array().into_iter().flatten();
        for target in targets {
            used.extend(check(
                target["expr"].as_str().expect("an expression"),
                &known,
            ));
        }
    }
    assert!(used.len() >= 30, "{used:?}");
}

#[test]
fn alert_rules_are_valid_use_metrics_that_exist_and_have_a_page() {
    let known = series();
    let rules: Value = serde_saphyr::from_str(&read("deploy/alerts.yml")).expect("YAML");
    let page = read("docs/alerts.md");
    let anchors: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            let name = rule["alert"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let used = check(rule["expr"].as_str().expect("an expression"), &known);
            assert!(!used.is_empty() || name == "SkytideDown", "{name}");
            let severity = rule["labels"]["severity"].as_str();
            assert!(matches!(severity, Some("warning" | "critical")), "{name}");
            let wait = rule["for"].as_str().expect(name);
            assert!(wait.ends_with(['s', 'm', 'h']), "{name}");
            let notes = &rule["annotations"];
            for note in ["summary", "description"] {
                assert!(
                    notes[note].as_str().is_some_and(|it| it.len() > 20),
                    "{name}: {note}"
                );
            }
            let runbook = notes["runbook"].as_str().expect(name);
            let (file, anchor) = runbook.split_once('#').expect(name);
            assert!(file.ends_with("docs/alerts.md"), "{runbook}");
            assert!(
                anchors.contains(anchor),
                "{runbook} is not among {anchors:?}"
            );
            assert_eq!(anchor, name.to_lowercase(), "{name}");
        }
    }
    let described = anchors
        .iter()
        .filter(|it| it.starts_with("skytide"))
        .count();
    assert_eq!(described, names.len(), "{anchors:?} and {names:?}");
}
