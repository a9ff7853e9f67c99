//! What a check found, and how it is shown.

use std::process::ExitCode;

use serde::{Serialize, Serializer};
use skytide_core::time::Timestamp;

use crate::cli::doctor::Service;
use crate::flight::masks::Masks;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The service runs, but may not for long, or not as the options ask.
    Warning,
    /// The service does not start or does not work.
    Problem,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check, such as `disk`.
    pub check: &'static str,
    /// How serious it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; `None` if nothing needs to be done.
    pub fix: Option<String>,
}

impl Finding {
    /// Nothing needs to be done.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            found: found.into(),
            fix: None,
        }
    }

    /// Something should be done.
    pub fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            fix: Some(fix.into()),
            ..Self::ok(check, found)
        }
    }

    /// Something must be done.
    pub fn problem(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(check, found, fix)
        }
    }

    /// The same without secrets, in one line.
    pub fn masked(self, masks: &Masks) -> Self {
        let line = |text: String| masks.apply(&text).replace(char::is_control, " ");
        Self {
            found: line(self.found),
            fix: self.fix.map(line),
            ..self
        }
    }

    fn line(&self) -> String {
        let Self {
            check, found, fix, ..
        } = self;
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        let fix = fix
            .as_ref()
            .map_or(String::new(), |fix| format!(" -> {fix}"));
        format!("{level:<8} {check:<10} {found}{fix}")
    }
}

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this program.
    pub version: &'static str,
    /// The service whose needs were checked.
    #[serde(serialize_with = "name")]
    pub service: Service,
    /// When the checks ended (RFC 3339).
    pub checked: String,
    /// The most serious level.
    pub level: Level,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

fn name<S: Serializer>(service: &Service, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(service.name())
}

impl Report {
    /// A report of these findings.
    pub fn new(service: Service, now: Timestamp, findings: Vec<Finding>) -> Self {
        let levels = findings.iter().map(|finding| finding.level);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            service,
            checked: now.rfc3339(),
            level: levels.max().unwrap_or(Level::Ok),
            findings,
        }
    }

    /// One line for each finding.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.findings.iter().map(Finding::line).collect();
        lines.join("\n")
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// 0 without a problem, else 1. Warnings do not change it.
    pub fn exit_code(&self) -> ExitCode {
        match self.level {
            Level::Ok | Level::Warning => ExitCode::SUCCESS,
            Level::Problem => ExitCode::FAILURE,
        }
    }
}

/// A number of bytes for people, such as `12.3 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, shift)| bytes >> shift > 0);
    match unit {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_level_of_its_most_serious_finding() {
        let level = |findings| Report::new(Service::Up, Timestamp(0), findings).level;
        let (ok, warning) = (Finding::ok("a", "b"), Finding::warning("a", "b", "c"));
        let problem = Finding::problem("disk", "full", "free some space");
        assert_eq!(level(vec![]), Level::Ok);
        assert_eq!(level(vec![warning.clone(), ok.clone()]), Level::Warning);
        assert_eq!(level(vec![problem.clone(), warning, ok]), Level::Problem);
        assert_eq!(
            problem.line(),
            "problem  disk       full -> free some space"
        );
        assert_eq!(bytes(1_288_490_189), "1.2 GiB");
        assert_eq!(bytes(12), "12 bytes");
    }
}
