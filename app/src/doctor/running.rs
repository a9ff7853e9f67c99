//! What the running services report in their flight records.

use super::finding::Finding;
use crate::flight::client::FlightRecord;
use crate::flight::health::HealthSample;

const CHECK: &str = "service";

/// Checks the running services. `silent`: why a process sent no record. `holder`: the process that has
/// the embedded views open.
pub fn check(running: &[FlightRecord], silent: &[String], holder: Option<u32>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = running.iter().flat_map(one).collect();
    for why in silent {
        let fix = "run doctor as the user of the service";
        let found = format!("a service sent no flight record: {why}");
        findings.push(Finding::warning(CHECK, found, fix));
    }
    if let (Some(process), true) = (holder, running.is_empty()) {
        let found = format!(
            "process {process} has the views open and keeps no flight record: it is a tool, an \
             earlier version, or has SKYTIDE_FLIGHT_BYTES_MAX=0"
        );
        findings.push(Finding::ok(CHECK, found));
    } else if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "none runs in this data folder"));
    }
    findings
}

fn one(record: &FlightRecord) -> Vec<Finding> {
    let process = &record.process;
    let name = format!("{} (process {})", process.service, process.pid);
    let mut findings = Vec::new();
    let ours = env!("CARGO_PKG_VERSION");
    if process.version != ours {
        let found = format!("{name} runs version {}, this is {ours}", process.version);
        findings.push(Finding::warning(
            CHECK,
            found,
            "use one version for all services",
        ));
    }
    let newest = record.samples("health").last().copied();
    let health = newest.and_then(|it| serde_json::from_slice::<HealthSample>(&it.content).ok());
    let failing = health.unwrap_or_default().problems();
    findings.push(match failing.is_empty() {
        true => Finding::ok(CHECK, format!("{name} runs since {}", process.started)),
        false => {
            let fix = "see the log of the service, and docs/alerts.md";
            Finding::warning(CHECK, format!("{name}: {}", failing.join("; ")), fix)
        }
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::flight::Process;
    use crate::flight::archive::Entry;

    #[test]
    fn a_failing_part_of_a_service_is_reported_with_its_reason() {
        let record = |health: &str| FlightRecord {
            process: Process {
                service: "ingest".to_owned(),
                pid: 7,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: "2026-11-30T00:00:00.000Z".to_owned(),
            },
            entries: vec![
                Entry::new("health/1.json", "{}"),
                Entry::new("health/2.json", health),
            ],
        };
        let healthy = check(&[record("{}")], &[], Some(7));
        assert_eq!(healthy.len(), 1);
        assert_eq!(healthy[0].level, Level::Ok);
        let parts = r#"{"waits_for":"relay","sentence":"it is silent","parts":[
            {"name":"log","ok":true,"detail":"a"},{"name":"relay","ok":false,"detail":"silent"}]}"#;
        let failing = check(&[record(parts)], &[], None);
        assert_eq!(failing[0].level, Level::Warning);
        assert_eq!(
            failing[0].found,
            "ingest (process 7): it waits for relay: it is silent; relay: silent"
        );
        assert!(check(&[], &[], Some(9))[0].found.contains("process 9"));
    }
}
