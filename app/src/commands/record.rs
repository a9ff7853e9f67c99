//! `skytide record`: writes the frames of a relay to a file.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount};
use skytide_ingest::record::{self, RecordOptions, Recorded};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::failure::Failure;
use crate::relays::relays;
use crate::terminal::{note, say};

/// Interval between two lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Records until a limit is reached or `stop` is cancelled. In both cases the file is a complete
/// recording of the frames written.
///
/// # Errors
///
/// The file cannot be written, or an existing file cannot be continued.
pub async fn run(args: &cli::Record, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let mut source = relays(&args.config)?.remove(0);
    let options = RecordOptions {
        file: args.file.clone(),
        frames: args.frames,
        duration: args.time_max.map(|time| time.0),
    };
    let file = args.file.display();
    note(&format!(
        "recording {} to {file}",
        args.config.firehose.url[0]
    ));
    let last_line = Mutex::new(Instant::now());
    let on_progress = |recorded: &Recorded| {
        let Ok(mut last) = last_line.lock() else {
            return;
        };
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            note(&line(recorded));
        }
    };
    let recorded = record::record(options, &mut source, stop, &on_progress).await;
    let recorded = recorded.map_err(|why| {
        let what = format!("recording to {file} stopped; the frames written so far are complete");
        Failure::because(what, why)
    })?;
    say(&format!("{file}: {}", line(&recorded)));
    Ok(ExitCode::SUCCESS)
}

fn line(recorded: &Recorded) -> String {
    let all = HumanCount(recorded.found.frames + recorded.frames);
    let (new, bytes) = (
        HumanCount(recorded.frames),
        HumanBytes(recorded.frame_bytes),
    );
    let mut line = format!("{all} frames, {new} of them new ({bytes} before compression)");
    if recorded.found.cut_bytes > 0 {
        let cut = HumanBytes(recorded.found.cut_bytes);
        line += &format!(", {cut} of an incomplete frame were removed");
    }
    if recorded.left_out > 0 {
        line += &format!(
            ", {} messages cannot be recorded",
            HumanCount(recorded.left_out)
        );
    }
    if let Some(cursor) = recorded.cursor {
        line += &format!(", up to seq {cursor}");
    }
    line
}
