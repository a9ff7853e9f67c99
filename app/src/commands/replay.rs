//! `skytide replay`: recordings through the same path as the live stream.
//!
//! ```text
//! FILE... ─ ingest ─▶ log ─ dataflow ─▶ store ─▶ report, export
//! ```
//!
//! Network time is the recording's own, and the last epoch ends at its last frame. A damaged file is
//! told only after all whole frames before the damage were counted and exported.
//!
//! Nothing is trimmed: the next replay with the same folder counts the log from its beginning. So a log that is too small
//! ends the replay.

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
use crate::data::{Data, Use};
use crate::export::Summary;
use crate::failure::{Failure, chain};
use crate::options;
use crate::progress::Replaying;
use crate::terminal::{note, say};

/// What a shell reports for a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// The time after which it is reported that a pipe has no frames yet.
const NOTE_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether the dataflow has counted everything.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often it is looked whether the log is full.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(100);

/// Replays, reports, exports.
///
/// # Errors
/// A file is not a recording, the data folder cannot be used, or a part failed.
pub async fn run(replay: &Replay, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let Some(source) = stop.run_until_cancelled(recording(replay)).await else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let source = source?;
    // The store closes its files first, then the folder goes.
    let scratch = scratch(replay)?;
    let data = open(replay, source.host(), scratch.as_ref()).await?;
    let replayed = send_through(replay, source, &data, stop.clone()).await?;
    if stop.is_cancelled() {
        note("stopped; with --data, the same command goes on from here");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    data.close(replay.config.process.shutdown_max.0).await;
    let store = data.store();
    if let Some(folder) = &replay.export {
        let format = export::format(replay.csv);
        let exported = crate::export::export(store.as_ref(), folder, format).await;
        let exported = exported.map_err(|why| export::failed(folder, why))?;
        say(&exported.outline().line(folder));
    }
    let summary = Summary::now(store.as_ref()).await;
    let summary = summary.map_err(|why| Failure::because("the summary cannot be read", why))?;
    report::print(&summary, &replayed, store.as_ref()).await?;
    if let Some(damage) = &replayed.damage {
        note(&format!("error: {}", chain(damage)));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a replay did.
pub struct Replayed {
    /// What ingest did.
    ingest: ingest::Summary,
    /// What the dataflow did.
    dataflow: Arc<dataflow::Metrics>,
    /// Workers that counted.
    workers: usize,
    /// From the first frame to the last commit.
    took: Duration,
    /// Why a recording could be read no further.
    damage: Option<ingest::source::SourceError>,
}

/// Opens the recording. The writer of a pipe may let it wait.
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
    let opened = opened.map_err(|why| Failure::because("the recording cannot be read", why))?;
    opened.map_err(|why| Failure::because("the recording cannot be read", why))
}

/// A folder for log and store, if no other one is named. It is removed with this.
fn scratch(replay: &Replay) -> Result<Option<TempDir>, Failure> {
    if replay.data.is_some() {
        return Ok(None);
    }
    let made = tempfile::Builder::new().prefix("skytide-replay-").tempdir();
    let made = made.map_err(|why| Failure::because("no scratch folder can be made", why))?;
    Ok(Some(made))
}

/// The data folder.
async fn open(replay: &Replay, host: &str, scratch: Option<&TempDir>) -> Result<Data, Failure> {
    let scratch = scratch.map(|scratch| scratch.path().join("data"));
    let path = replay.data.as_ref().or(scratch.as_ref());
    let path = path.expect("there is a scratch folder where no other is named");
    let syncs = replay.data.is_some();
    Data::open(path, Some(host), Use::All, &replay.config, syncs).await
}

/// Runs ingest and dataflow until everything is counted, or `stop`.
async fn send_through(
    replay: &Replay,
    source: RecordingSource,
    data: &Data,
    stop: CancellationToken,
) -> Result<Replayed, Failure> {
    let mut registry = Registry::default();
    let flow_options = dataflow::Options {
        interactions_days: None,
        ..options::dataflow(&replay.config)
    };
    let workers = flow_options.workers;
    let metrics = dataflow::Metrics::register(&mut registry, workers);
    let (bytes, _) = source.extent();
    let progress = Arc::new(Replaying::new(metrics.clone(), bytes));
    let told = progress.clone();
    let context = Context {
        log: data.log(),
        clock: Arc::new(SystemClock),
        metrics: ingest::Metrics::register(&mut registry),
        progress: Arc::new(move |now| told.durable(now)),
        status: ingest::Status::default(),
        stop: stop.child_token(),
    };
    let stop_flow = stop.child_token();

    let reading = async {
        let options = options::ingest(&replay.config, None);
        let read = whole_frames(ingest::run(options, vec![Box::new(source)], context).await)?;
        let newest = read.0.tick.as_ref().map_or(Epoch(0), |tick| tick.epoch);
        tokio::select! {
            () = committed(newest, &metrics) => {}
            () = stop_flow.cancelled() => {}
        }
        stop_flow.cancel();
        Ok(read)
    };
    let counting = async {
        let stop = stop_flow.clone();
        let counted = dataflow::run(flow_options, data.ports_of_replay(), metrics.clone(), stop);
        let counted = counted.await;
        counted.map_err(|why| Failure::because("the dataflow stopped", why))
    };
    let (read, ()) = tokio::select! {
        both = async { tokio::try_join!(reading, counting) } => both?,
        full = full(replay, data) => return Err(full),
        never = progress.show() => match never {},
    };
    let (ingest, damage) = read;
    Ok(Replayed {
        ingest,
        dataflow: metrics.clone(),
        workers,
        took: progress.started().elapsed(),
        damage,
    })
}

/// What ingest did, and the damage that ended it; any other error is one.
fn whole_frames(
    read: Result<ingest::Summary, IngestError>,
) -> Result<(ingest::Summary, Option<ingest::source::SourceError>), Failure> {
    match read {
        Ok(summary) => Ok((summary, None)),
        Err(IngestError::Source { summary, source }) => Ok((*summary, Some(source))),
        Err(why) => Err(Failure::because("ingest stopped", why)),
    }
}

/// Waits until the log is at its size limit, and ingest has more for it; says what to do.
async fn full(replay: &Replay, data: &Data) -> Failure {
    let mut look = interval(LOOK_FOR_ROOM_EVERY);
    loop {
        look.tick().await;
        if !data.waits_for_room() {
            continue;
        }
        // It waits for a server's disk, too: there somebody else may make room.
        let Ok(bounds) = data.log().bounds().await else {
            continue;
        };
        if bounds.bytes >= bounds.bytes_max {
            let option = match replay.config.nats.url.is_empty() {
                true => "STORE_LOG_BYTES_MAX",
                false => "NATS_BYTES_MAX",
            };
            let now = ByteSize(bounds.bytes_max);
            return Failure::new(format!(
                "the log is full, and a replay keeps all of it: raise {option} (now {now}) and call it again"
            ));
        }
    }
}

/// Waits until the dataflow has committed an epoch.
async fn committed(epoch: Epoch, metrics: &dataflow::Metrics) {
    let mut look = interval(LOOK_EVERY);
    while metrics.epoch.get() < i64::try_from(epoch.0).unwrap_or(i64::MAX) {
        look.tick().await;
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

    /// With less room for the log than any option allows.
    async fn replayed(args: &[&str], log_bytes_max: u64) -> Result<(), String> {
        let args = [&["skytide", RECORDING], args].concat();
        let mut replay = Line::try_parse_from(args).unwrap().replay;
        replay.config.store.log_bytes_max = ByteSize(log_bytes_max);
        replay.config.nats.bytes_max = Some(ByteSize(log_bytes_max));
        let ended = run(&replay, CancellationToken::new());
        let ended = timeout(Duration::from_secs(120), ended).await;
        let ended = ended.expect("it waits for what nobody does");
        ended.map(|_| ()).map_err(|failure| chain(&failure))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_log_that_is_too_small_ends_it_and_with_more_room_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let data = ["--data", folder.path().to_str().unwrap()];
        let told = replayed(&data, 1 << 20).await.unwrap_err();
        assert!(
            told.contains("raise STORE_LOG_BYTES_MAX (now 1MiB)"),
            "{told}"
        );
        assert_eq!(replayed(&data, 1 << 30).await, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_same_of_a_log_on_nats() {
        let Some(nats) = Nats::start() else { return };
        let url = format!("--nats-url={}", nats.url());
        let told = replayed(&[&url], 1 << 20).await.unwrap_err();
        assert!(told.contains("raise NATS_BYTES_MAX (now 1MiB)"), "{told}");
        assert_eq!(replayed(&[&url], 1 << 30).await, Ok(()));
    }
}
