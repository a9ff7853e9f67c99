//! `skytide replay`: sends recordings through the same path as the live stream.
//!
//! ```text
//! FILE... ─ ingest ─▶ log ─ dataflow ─▶ store ─▶ report, export
//! ```
//!
//! Network time is that of the recording, and the last epoch ends at its last frame. Damage in a
//! file is reported after all complete frames before it have been counted and exported.
//!
//! The log is never trimmed, because the next replay with the same folder counts it from its
//! beginning. So a replay fails when the log reaches its size limit.

mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_core::config::ByteSize;
use skytide_core::id::Epoch;
use skytide_dataflow as dataflow;
use skytide_ingest::{self as ingest, Context, IngestError, RecordingSource, Source};
use tempfile::TempDir;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::export;
use crate::cli::Replay;
use crate::clock::SystemClock;
use crate::data::{Data, Role};
use crate::dataflow_log::{DataflowLog, beside};
use crate::export::Summary;
use crate::failure::{Failure, chain};
use crate::options;
use crate::progress::ReplayProgress;
use crate::terminal::{note, say};

/// The exit code that a shell reports for a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// How long a pipe may have no frames before this is reported.
const NOTE_AFTER: Duration = Duration::from_secs(1);
/// Interval between two checks whether the dataflow has committed everything.
const COMMIT_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Interval between two checks whether the log is full.
const LOG_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Replays the recordings, exports the views if requested, and prints a report. Returns the exit
/// code.
///
/// # Errors
///
/// A file is not a recording, the data cannot be used, or ingest, dataflow or export failed.
pub async fn run(replay: &Replay, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let Some(source) = stop.run_until_cancelled(recording(replay)).await else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let source = source?;
    // Declared before `data`, so that the store closes its files before the folder is removed.
    let scratch = scratch(replay)?;
    let data = open(replay, source.host(), scratch.as_ref()).await?;
    let replayed = send_through(replay, source, &data, stop.clone()).await?;
    if stop.is_cancelled() {
        note("stopped; with --data, the same command continues from here");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    data.close(replay.config.process.shutdown_max.0).await;
    let store = data.store();
    if let Some(folder) = &replay.export {
        let format = export::format(replay.csv);
        let exported = crate::export::export(store.as_ref(), folder, format).await;
        let exported = exported.map_err(|why| export::failed(folder, why))?;
        say(&exported.report().line(folder));
    }
    let summary = Summary::now(store.as_ref()).await;
    let summary =
        summary.map_err(|why| Failure::because("cannot read the summary of the views", why))?;
    report::print(&summary, &replayed, store.as_ref()).await?;
    if let Some(damage) = &replayed.damage {
        note(&format!("error: {}", chain(damage)));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The result of a replay.
pub struct ReplayResult {
    /// The counts and times of ingest.
    ingest: ingest::Summary,
    /// The metrics of the dataflow.
    dataflow: Arc<dataflow::Metrics>,
    /// Number of workers of the dataflow.
    workers: usize,
    /// The time from the first frame to the last commit.
    duration: Duration,
    /// The damage at which reading the recording stopped.
    damage: Option<ingest::source::SourceError>,
}

/// Opens the recording. This blocks until the writer of a pipe has sent the first bytes.
async fn recording(replay: &Replay) -> Result<RecordingSource, Failure> {
    let files = replay.files.clone();
    let mut opening = tokio::task::spawn_blocking(move || RecordingSource::open(files));
    let opened = tokio::select! {
        opened = &mut opening => opened,
        () = sleep(NOTE_AFTER) => {
            note("waiting for the first frames of the recording");
            opening.await
        }
    };
    let opened = opened.map_err(|why| Failure::because("cannot read the recording", why))?;
    opened.map_err(|why| Failure::because("cannot read the recording", why))
}

/// A scratch folder for log and store, if `--data` names no other. It is removed when this is
/// dropped.
fn scratch(replay: &Replay) -> Result<Option<TempDir>, Failure> {
    if replay.data.is_some() {
        return Ok(None);
    }
    let created = tempfile::Builder::new().prefix("skytide-replay-").tempdir();
    let folder = created.map_err(|why| Failure::because("cannot create a scratch folder", why))?;
    Ok(Some(folder))
}

/// Opens log and store in the data folder or the scratch folder.
async fn open(replay: &Replay, host: &str, scratch: Option<&TempDir>) -> Result<Data, Failure> {
    let scratch = scratch.map(|scratch| scratch.path().join("data"));
    let path = replay.data.as_ref().or(scratch.as_ref());
    let path = path.expect("a scratch folder, if no other is named");
    let sync = replay.data.is_some();
    Data::open(path, Some(host), Role::All, &replay.config, sync).await
}

/// Runs ingest and dataflow until everything is committed or `stop` is cancelled.
async fn send_through(
    replay: &Replay,
    source: RecordingSource,
    data: &Data,
    stop: CancellationToken,
) -> Result<ReplayResult, Failure> {
    let mut registry = Registry::default();
    let flow_options = dataflow::Options {
        interactions_days: None,
        ..options::dataflow(&replay.config)
    };
    let workers = flow_options.workers;
    let metrics = dataflow::Metrics::register(&mut registry, workers);
    let (bytes, _) = source.extent();
    let progress = Arc::new(ReplayProgress::new(metrics.clone(), bytes));
    let observer = progress.clone();
    let context = Context {
        log: data.log(),
        clock: Arc::new(SystemClock),
        metrics: ingest::Metrics::register(&mut registry),
        progress: Arc::new(move |now| observer.on_durable(now)),
        status: ingest::Status::default(),
        stop: stop.child_token(),
    };
    let stop_flow = stop.child_token();

    let reading = async {
        let options = options::ingest(&replay.config, None);
        let read = separate_damage(ingest::run(options, vec![Box::new(source)], context).await)?;
        let newest = read.0.tick.as_ref().map_or(Epoch(0), |tick| tick.epoch);
        tokio::select! {
            () = wait_for_commit(newest, &metrics) => {}
            () = stop_flow.cancelled() => {}
        }
        stop_flow.cancel();
        Ok(read)
    };
    let counting = async {
        let stop = stop_flow.clone();
        let counted = dataflow::run(flow_options, data.ports_of_replay(), metrics.clone(), stop);
        let log = DataflowLog::of(&replay.config, &metrics, None);
        let counted = beside(log, counted).await;
        counted.map_err(|why| Failure::because("the dataflow failed", why))
    };
    let (read, ()) = tokio::select! {
        both = async { tokio::try_join!(reading, counting) } => both?,
        full = wait_until_log_is_full(data) => return Err(full),
        never = progress.show() => match never {},
    };
    let (ingest, damage) = read;
    Ok(ReplayResult {
        ingest,
        dataflow: metrics.clone(),
        workers,
        duration: progress.started().elapsed(),
        damage,
    })
}

/// Separates damage in a recording from other errors. After damage, the replay still reports its
/// result.
fn separate_damage(
    read: Result<ingest::Summary, IngestError>,
) -> Result<(ingest::Summary, Option<ingest::source::SourceError>), Failure> {
    match read {
        Ok(summary) => Ok((summary, None)),
        Err(IngestError::Source { summary, source }) => Ok((*summary, Some(source))),
        Err(why) => Err(Failure::because("ingest failed", why)),
    }
}

/// Waits until the log is at its size limit and ingest has more events for it. Returns the failure
/// with the remedy.
async fn wait_until_log_is_full(data: &Data) -> Failure {
    let backend = data.log_backend();
    let mut due = interval(LOG_POLL_INTERVAL);
    loop {
        due.tick().await;
        if !backend.is_full() {
            continue;
        }
        // A log on a server is also full while the disk of the server is full. Somebody may free
        // space there, so continue unless the log itself is at its limit.
        let Ok(bounds) = data.log().bounds().await else {
            continue;
        };
        if bounds.bytes >= bounds.bytes_max {
            let option = backend.size_option();
            let now = ByteSize(bounds.bytes_max);
            return Failure::new(format!(
                "the log is full, and a replay never trims it: raise {option} (now {now}) and run the \
                 replay again"
            ));
        }
    }
}

/// Waits until the dataflow has committed an epoch.
async fn wait_for_commit(epoch: Epoch, metrics: &dataflow::Metrics) {
    let mut due = interval(COMMIT_POLL_INTERVAL);
    while metrics.epoch.get() < i64::try_from(epoch.0).unwrap_or(i64::MAX) {
        due.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use skytide_tests::servers::Nats;
    use tokio::time::timeout;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        replay: Replay,
    }

    const RECORDING: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/frames/pds.frames.zst"
    );

    /// Replays a recording with a size limit of the log that may be lower than the options allow.
    async fn replay_with(args: &[&str], log_bytes_max: u64) -> Result<(), String> {
        let args = [&["skytide", RECORDING], args].concat();
        let mut replay = Line::try_parse_from(args).unwrap().replay;
        replay.config.store.log_bytes_max = ByteSize(log_bytes_max);
        replay.config.nats.bytes_max = Some(ByteSize(log_bytes_max));
        let ended = run(&replay, CancellationToken::new());
        let ended = timeout(Duration::from_secs(120), ended).await;
        let ended = ended.expect("the replay ends");
        ended.map(|_| ()).map_err(|failure| chain(&failure))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_too_small_fails_the_replay_and_a_larger_one_continues_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = ["--data", folder.path().to_str().unwrap()];
        let why = replay_with(&data, 1 << 20).await.unwrap_err();
        assert!(
            why.contains("raise STORE_LOG_BYTES_MAX (now 1MiB)"),
            "{why}"
        );
        assert_eq!(replay_with(&data, 1 << 30).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_on_nats_that_is_too_small_fails_the_replay() {
        let Some(nats) = Nats::start() else { return };
        let url = format!("--nats-url={}", nats.url());
        let why = replay_with(&[&url], 1 << 20).await.unwrap_err();
        assert!(why.contains("raise NATS_BYTES_MAX (now 1MiB)"), "{why}");
        assert_eq!(replay_with(&[&url], 1 << 30).await, Ok(()));
    }
}
