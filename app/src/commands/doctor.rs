//! `skytide doctor`: checks what a service needs, and collects what explains a failure.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use skytide_core::config::options;
use skytide_core::port::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::cli::Invocation;
use crate::cli::doctor::Doctor;
use crate::clock::SystemClock;
use crate::doctor::bundle::{Contents, bundle, failed};
use crate::doctor::finding::Report;
use crate::doctor::{Examination, answer};
use crate::failure::Failure;
use crate::flight::archive::Entry;
use crate::flight::client::FlightRecord;
use crate::flight::masks::Masks;
use crate::terminal::{note, say};

/// The exit code if doctor was stopped, or the bundle cannot be written.
const NOT_RUN: u8 = 2;

/// Runs the checks, prints the findings, and writes the bundle. The exit code is 0 without a problem,
/// 1 with one, 2 if the bundle cannot be written or `stop` is cancelled first.
///
/// # Errors
///
/// None: a failure is a finding.
pub async fn run(
    args: &Doctor,
    invocation: &Invocation,
    stop: CancellationToken,
) -> Result<ExitCode, Failure> {
    let examined = stop.run_until_cancelled(examine(args, invocation)).await;
    Ok(examined.unwrap_or_else(|| {
        note("stopped: the checks are incomplete");
        ExitCode::from(NOT_RUN)
    }))
}

async fn examine(args: &Doctor, invocation: &Invocation) -> ExitCode {
    let names = options().into_iter().map(|option| option.name);
    let time_max = args.timeout.0;
    let (matches, config) = (invocation.matches.clone(), args.config.clone());
    let masks = answer(time_max, move || Masks::of(&matches, &config)).await;
    let examination = Examination {
        config: &args.config,
        set: names.filter(|name| invocation.is_set(name)).collect(),
        service: args.service,
        time_max,
        // A file that cannot be read has no secret that doctor could show. It is also a finding.
        masks: masks.unwrap_or_else(|| Masks::of_options(&invocation.matches)),
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
        return report.exit_code();
    };
    let data = args.config.store.dir.clone();
    let failed = answer(time_max, move || failed(&data)).await;
    let failed = failed.unwrap_or_else(|| {
        note("the bundle lacks the records of failures: the data folder does not answer in time");
        Vec::new()
    });
    match write_bundle(file, (&report, &running, failed), &examination, invocation) {
        Ok(bytes) => {
            note(&format!("wrote {} ({bytes} bytes)", file.display()));
            report.exit_code()
        }
        Err(why) => {
            note(&format!(
                "error: cannot write the bundle {}: {why}",
                file.display()
            ));
            ExitCode::from(NOT_RUN)
        }
    }
}

/// Writes the bundle and returns its size in bytes.
fn write_bundle(
    file: &Path,
    (report, running, failed): (&Report, &[FlightRecord], Vec<Entry>),
    examination: &Examination<'_>,
    invocation: &Invocation,
) -> io::Result<usize> {
    let bytes = bundle(&Contents {
        report,
        running,
        settings: invocation.settings_table(),
        masks: &examination.masks,
        failed,
        now: SystemClock.now(),
    });
    if file == Path::new("-") {
        io::stdout().write_all(&bytes)?;
        return Ok(bytes.len());
    }
    replace(file, &bytes)?;
    Ok(bytes.len())
}

/// Writes a file that only this user may read. A former file of this name is replaced at the end; a
/// symbolic link is not followed.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::symlink_metadata(file).is_ok_and(|it| !it.is_file()) {
        let what = "it exists and is not a regular file: remove it, or choose another name; - is \
                    standard output";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Its mode is 0600. It is removed if it cannot be written.
    let mut new = tempfile::Builder::new()
        .prefix(".skytide-bundle-")
        .tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_bundle_replaces_a_file_and_its_mode_and_follows_no_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("b.tar.gz");
        std::fs::write(&file, "former").expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
        replace(&file, b"new").expect("written");
        let mode = std::fs::metadata(&file).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let link = folder.path().join("link");
        symlink(&file, &link).expect("linked");
        let refused = replace(&link, b"other").expect_err("a link");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        replace(&folder.path().join("none/b.tar.gz"), b"x").expect_err("no folder");
        assert_eq!(std::fs::read(&file).expect("a file"), b"new");
        let names = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 2);
    }
}
