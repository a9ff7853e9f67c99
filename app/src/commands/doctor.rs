//! `skytide doctor`: checks what a service needs, and collects what explains a failure.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use skytide_core::config::options;
use skytide_core::port::clock::Clock;

use crate::cli::Invocation;
use crate::cli::doctor::Doctor;
use crate::clock::SystemClock;
use crate::doctor::Examination;
use crate::doctor::bundle::{Contents, bundle};
use crate::doctor::finding::Report;
use crate::failure::Failure;
use crate::flight::client::FlightRecord;
use crate::flight::masks::Masks;
use crate::terminal::{note, say};

/// The exit code if the bundle cannot be written.
const NOT_RUN: u8 = 2;

/// Runs the checks, prints the findings, and writes the bundle. The exit code is 0 without a problem,
/// 1 with one, 2 if the bundle cannot be written.
///
/// # Errors
///
/// None: a failure is a finding.
pub async fn run(args: &Doctor, invocation: &Invocation) -> Result<ExitCode, Failure> {
    let names = options().into_iter().map(|option| option.name);
    let examination = Examination {
        config: &args.config,
        set: names.filter(|name| invocation.is_set(name)).collect(),
        service: args.service,
        time_max: args.timeout.0,
        masks: Masks::of(&invocation.matches, &args.config),
    };
    let (report, running) = examination.run().await;
    let to_stdout = args.bundle.as_deref() == Some(Path::new("-"));
    let text = match args.json {
        true => report.json(),
        false => report.text(),
    };
    match to_stdout {
        true => note(&text),
        false => say(&text),
    }
    let Some(file) = &args.bundle else {
        return Ok(report.exit_code());
    };
    match write_bundle(file, &report, &running, (&examination, invocation)) {
        Ok(bytes) => {
            note(&format!("wrote {} ({bytes} bytes)", file.display()));
            Ok(report.exit_code())
        }
        Err(why) => {
            note(&format!(
                "error: cannot write the bundle {}: {why}",
                file.display()
            ));
            Ok(ExitCode::from(NOT_RUN))
        }
    }
}

/// Writes the bundle and returns its size in bytes.
fn write_bundle(
    file: &Path,
    report: &Report,
    running: &[FlightRecord],
    (examination, invocation): (&Examination<'_>, &Invocation),
) -> io::Result<usize> {
    let bytes = bundle(&Contents {
        report,
        running,
        settings: invocation.settings_table(),
        masks: &examination.masks,
        data: &examination.config.store.dir,
        now: SystemClock.now(),
    });
    if file == Path::new("-") {
        io::stdout().write_all(&bytes)?;
        return Ok(bytes.len());
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(bytes.len())
}
