//! `skytide audit`: counts rows again, from live records, and reports rows that differ.
//!
//! ```text
//! a process runs the dataflow on this data folder ─▶ it makes the audit, and reports it
//! otherwise ───────────────────────────────────────▶ this process opens the data and makes it
//! ```

use std::process::ExitCode;

use skytide_core::port::audit::{AuditReport, Difference};
use tokio_util::sync::CancellationToken;

use crate::audit::{Answer, AuditMetrics, AuditRequest, AuditService, request_audit};
use crate::cli::Audit;
use crate::data::{Data, Role};
use crate::failure::{Failure, chain};
use crate::files;
use crate::terminal::{note, say};

/// The exit code if rows differ.
const DIFFERENT: u8 = 1;
/// The exit code if no audit was possible.
const NOT_AUDITED: u8 = 2;

/// Makes an audit and prints its result.
///
/// # Errors
///
/// None: a failure is printed, and has an exit code of its own.
pub async fn run(audit: &Audit, stop: CancellationToken) -> ExitCode {
    // The runs of a checkpoint are many files, which an audit opens all at once.
    files::raise_limit();
    let auditing = stop.run_until_cancelled(report(audit));
    let stopped = || Err(Failure::new("stopped: the audit is incomplete"));
    let report = match auditing.await.unwrap_or_else(stopped) {
        Ok(report) => report,
        Err(failure) => {
            note(&format!("error: {}", chain(&failure)));
            return ExitCode::from(NOT_AUDITED);
        }
    };
    match audit.json {
        true => say(&serde_json::to_string(&report).unwrap_or_default()),
        false => show(&report),
    }
    match report.differing {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DIFFERENT),
    }
}

async fn report(audit: &Audit) -> Result<AuditReport, Failure> {
    let folder = &audit.config.store.dir;
    let rows = (!audit.all).then_some(audit.rows as usize);
    let answered = request_audit(folder, &AuditRequest::new(rows)).await;
    let answered = answered.map_err(|why| {
        let what = format!(
            "the process that counts in {} did not answer; run the audit again",
            folder.display()
        );
        Failure::because(what, why)
    })?;
    match answered {
        Some(Answer::Report(report)) => return Ok(*report),
        Some(Answer::Failed(why)) => return Err(Failure::because("cannot audit the views", why)),
        None => {}
    }
    let data = Data::open(folder, None, Role::Index, &audit.config, true).await?;
    let service = AuditService::new(&data, AuditMetrics::default());
    let audited = service.audit(rows).await;
    let report = audited.map_err(|why| Failure::because("cannot audit the views", why))?;
    Ok(AuditReport::clone(&report))
}

fn show(report: &AuditReport) {
    let source = match report.checkpoint {
        Some(checkpoint) => format!("checkpoint {} and {} events", checkpoint.0, report.events),
        None => format!("{} events of the log", report.events),
    };
    say(&format!(
        "epoch {}, {}: {} rows counted again from {} live records ({source}) in {:.1} s",
        report.epoch.0, report.scope, report.rows, report.live_records, report.seconds
    ));
    for view in &report.views {
        let differing = match view.differing {
            0 => String::new(),
            count => format!("{count} differ"),
        };
        say(format!("  {:<18} {:>9}  {differing}", view.view, view.rows).trim_end());
    }
    let not_audited: Vec<_> = report
        .views
        .iter()
        .filter_map(|view| Some((&view.view, view.not_audited.as_deref()?)))
        .collect();
    if let Some((_, why)) = not_audited.first() {
        let views = not_audited.iter().map(|(view, _)| &***view);
        let views = views.collect::<Vec<_>>().join(", ");
        say(&format!("not audited in {views}: {why}"));
    }
    report.differences.iter().for_each(show_difference);
    match report.differing {
        0 => say("no difference"),
        1 => say("1 row differs"),
        count => say(&format!("{count} rows differ")),
    }
}

/// The longest text of a row that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 1_000;

fn show_difference(difference: &Difference) {
    let row = |row: &Option<Box<str>>| match row {
        None => "no row".to_owned(),
        Some(row) if row.len() > SHOWN_BYTES_MAX => {
            let end = row.floor_char_boundary(SHOWN_BYTES_MAX);
            format!("{}... (--json shows all)", &row[..end])
        }
        Some(row) => row.to_string(),
    };
    say(&format!("{} {}", difference.view, difference.key));
    say(&format!("  expected {}", row(&difference.expected)));
    say(&format!("  found    {}", row(&difference.found)));
}
