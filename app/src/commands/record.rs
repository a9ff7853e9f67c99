//! `skytide record`: a relay's frames into a file.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount};
use skytide_ingest::record::{self, RecordOptions, Recorded};
use tokio_util::sync::CancellationToken;

use super::services::relays;
use crate::cli;
use crate::failure::Failure;
use crate::terminal::{note, say};

/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Records until there is enough, or `stop`: what was written is whole either way.
///
/// # Errors
/// The file cannot be written or gone on with.
pub async fn run(asked: &cli::Record, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let mut source = relays(&asked.config)?.remove(0);
    let options = RecordOptions {
        file: asked.file.clone(),
        frames: asked.frames,
        duration: asked.time_max.map(|time| time.0),
    };
    let file = asked.file.display();
    note(&format!(
        "recording {} to {file}",
        asked.config.firehose.url[0]
    ));
    let told = Mutex::new(Instant::now());
    let tell = |recorded: &Recorded| {
        let Ok(mut last) = told.lock() else { return };
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            note(&line(recorded));
        }
    };
    let recorded = record::record(options, &mut source, stop, &tell).await;
    let recorded = recorded.map_err(|why| {
        let what = format!("recording to {file} ended; what was written is whole");
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
        line += &format!(", {cut} of an unfinished frame were cut off");
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
