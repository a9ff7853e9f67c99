//! Every form of a recording, intact and damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skytide_core::event::Body;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::Log;
use skytide_ingest::{IngestError, Options, RecordingSource, Source, Summary};

use super::frames;
use super::harness::{Running, Stored, options};

fn small_epochs() -> Options {
    Options {
        tick_events_max: 20,
        ..options()
    }
}

async fn replay(files: Vec<PathBuf>, log: Arc<dyn Log>) -> Result<Summary, IngestError> {
    let source = RecordingSource::open(files).unwrap();
    Running::start(Box::new(source), small_epochs(), log)
        .end()
        .await
}

async fn replayed(files: Vec<PathBuf>) -> (Stored, Result<Summary, IngestError>) {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let ended = replay(files, log.clone()).await;
    (Stored::of(log.as_ref()).await, ended)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[tokio::test]
async fn every_form_of_the_same_frames_gives_the_same_stream() {
    let all = frames::relay();
    let folder = tempfile::tempdir().unwrap();
    let mut outcomes = Vec::new();
    for (order, length) in [
        ("be", u32::to_be_bytes as fn(u32) -> [u8; 4]),
        ("le", u32::to_le_bytes),
    ] {
        let bytes = frames::join(&all, length);
        let (one, two) = all.split_at(70);
        let halves = [one, two].map(|half| frames::join(half, length));
        let long = {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(27).unwrap();
            encoder.long_distance_matching(true).unwrap();
            std::io::Write::write_all(&mut encoder, &bytes).unwrap();
            encoder.finish().unwrap()
        };
        let file =
            |name: &str, bytes: &[u8]| write(folder.path(), &format!("{order}-{name}"), bytes);
        for files in [
            vec![file("plain", &bytes)],
            vec![file("zst", &compress(&bytes))],
            vec![file("long", &long)],
            vec![
                file("half-1", &halves[0]),
                file("half-2", &compress(&halves[1])),
            ],
            vec![file("frames", &halves.map(|half| compress(&half)).concat())],
        ] {
            let (stored, ended) = replayed(files).await;
            assert!(ended.unwrap().ended);
            outcomes.push(stored);
        }
    }
    assert_eq!(outcomes[0].count("frames"), 150);
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    let last: Vec<bool> = outcomes[0].ticks.iter().map(|tick| tick.last).collect();
    assert_eq!(last.iter().filter(|&&last| last).count(), 1);
    assert_eq!(last.last(), Some(&true));
}

#[tokio::test]
async fn the_reference_recording_gives_the_independently_counted_events() {
    let expected: serde_json::Value = serde_json::from_slice(
        &std::fs::read(frames::fixture("frames/pds.expected.json")).unwrap(),
    )
    .unwrap();
    let (stored, ended) = replayed(vec![frames::fixture("frames/pds.frames.zst")]).await;
    assert!(ended.unwrap().ended);
    let mut ops: BTreeMap<(String, String), u64> = BTreeMap::new();
    for event in &stored.events {
        if let Body::Op(op) = &event.body {
            let place = (op.collection.to_string(), op.action.as_str().to_owned());
            *ops.entry(place).or_default() += 1;
        }
    }
    let counted = expected["ops"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(collection, actions)| {
            let actions = actions.as_object().unwrap().iter();
            actions.map(move |(action, count)| {
                (
                    (collection.clone(), action.clone()),
                    count.as_u64().unwrap(),
                )
            })
        });
    let counted: BTreeMap<_, _> = counted.filter(|(_, count)| *count > 0).collect();
    assert_eq!(ops, counted);
    for (kind, count) in expected["frames"]["by_type"]
        .as_object()
        .into_iter()
        .flatten()
    {
        assert_eq!(
            stored.count(&format!("frames/{kind}")),
            count.as_u64().unwrap(),
            "{kind}"
        );
    }
    assert_eq!(stored.count("frames"), 13_833);
    assert_eq!(stored.count("frame_bytes"), 38_950_078);
    assert!(
        stored
            .events
            .windows(2)
            .all(|pair| pair[0].time <= pair[1].time)
    );
}

#[tokio::test]
async fn a_recording_truncated_anywhere_gives_its_whole_frames_and_the_offset() {
    let all = frames::relay();
    let bytes = frames::join(&all, u32::to_be_bytes);
    let folder = tempfile::tempdir().unwrap();
    let ends: Vec<usize> = all
        .iter()
        .scan(0, |end, frame| {
            *end += 4 + frame.len();
            Some(*end)
        })
        .collect();
    for cut in [
        1,
        3,
        4,
        5,
        ends[0] - 1,
        ends[0] + 1,
        ends[0] + 4,
        ends[80] + 700,
        bytes.len() - 1,
    ] {
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        let begin = whole.checked_sub(1).map_or(0, |last| ends[last]);
        let path = write(folder.path(), "cut", &bytes[..cut]);
        let Ok(source) = RecordingSource::open(vec![path]) else {
            assert!(cut < 4, "cut at {cut}");
            continue;
        };
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
        let error = Running::start(Box::new(source), small_epochs(), log.clone())
            .end()
            .await;
        let text = chain(&error.unwrap_err());
        assert!(
            text.contains(&format!("cut is cut short: the frame at byte {begin} ")),
            "{text}"
        );
        let stored = Stored::of(log.as_ref()).await;
        assert_eq!(stored.count("frames"), whole as u64, "cut at {cut}");
        assert!(stored.ticks.last().unwrap().last);
    }
}

#[tokio::test]
async fn a_truncated_compressed_recording_gives_its_whole_frames_and_both_offsets() {
    let all = frames::relay();
    let bytes = compress(&frames::join(&all, u32::to_be_bytes));
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "cut.zst", &bytes[..bytes.len() / 2]);
    let (stored, ended) = replayed(vec![path]).await;
    let frames = stored.count("frames") as usize;
    assert!(frames > 10 && frames < all.len(), "{frames}");
    let begin: usize = all[..frames].iter().map(|frame| 4 + frame.len()).sum();
    let text = chain(&ended.unwrap_err());
    assert!(
        text.contains(&format!("the frame at byte {begin} of the decompressed")),
        "{text}"
    );
    assert!(
        text.contains(&format!("byte {} of the file", bytes.len() / 2)),
        "{text}"
    );
}

#[tokio::test]
async fn a_damaged_recording_gives_the_frames_before_the_damage() {
    let all = frames::relay();
    let begin: usize = all[..50].iter().map(|frame| 4 + frame.len()).sum();
    let folder = tempfile::tempdir().unwrap();
    for (byte, value) in [(0, 0xff), (2, 0x01), (3, 0x00)] {
        let mut bytes = frames::join(&all, u32::to_be_bytes);
        bytes[begin + byte] = value;
        let path = write(folder.path(), "damaged", &bytes);
        let (stored, ended) = replayed(vec![path]).await;
        let text = chain(&ended.unwrap_err());
        assert!(
            text.contains(&format!("damaged: the frame at byte {begin} ")),
            "{text}"
        );
        assert_eq!(stored.count("frames"), 50, "byte {byte}");
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut encoder, &frames::join(&all, u32::to_be_bytes)).unwrap();
    let mut bytes = encoder.finish().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xff);
    let (stored, ended) = replayed(vec![write(folder.path(), "damaged.zst", &bytes)]).await;
    assert!(
        matches!(ended, Err(IngestError::Source { .. })),
        "{ended:?}"
    );
    assert!(stored.count("frames") <= 150 && stored.ticks.last().unwrap().last);
}

#[test]
fn a_file_that_is_not_a_recording_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("text", &b"hello, this is a text of some length"[..]),
        ("zst", &compress(b"hello, hello")),
    ] {
        let path = write(folder.path(), name, bytes);
        let error = RecordingSource::open(vec![path]).err().unwrap();
        assert!(error.to_string().contains("is not a recording"), "{error}");
    }
    let missing = RecordingSource::open(vec![folder.path().join("none")])
        .err()
        .unwrap();
    assert!(missing.to_string().contains("could not read"), "{missing}");
}

#[tokio::test]
async fn an_empty_recording_is_an_empty_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (stored, ended) = replayed(vec![write(folder.path(), "empty", b"")]).await;
    assert!(ended.unwrap().ended);
    assert!(stored.events.is_empty() && stored.ticks.last().unwrap().last);
}

#[tokio::test]
async fn a_replay_that_was_stopped_resumes_where_it_stopped() {
    let path = frames::fixture("frames/pds.frames.zst");
    let (expected, _) = replayed(vec![path.clone()]).await;
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    for stop_at in [1, 900, 5_000] {
        let source = RecordingSource::open(vec![path.clone()]).unwrap();
        let running = Running::start(Box::new(source), small_epochs(), log.clone());
        running
            .until(|stored| stored.count("frames") >= stop_at)
            .await;
        running.stop.cancel();
        let _may_have_ended = running.end().await.unwrap();
    }
    replay(vec![path.clone()], log.clone()).await.unwrap();
    let stored = Stored::of(log.as_ref()).await;
    assert_eq!(stored.events.len(), expected.events.len());
    let key = |stored: &Stored| {
        stored
            .events
            .iter()
            .map(|e| (e.seq, e.index, e.body.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(key(&stored), key(&expected));
    assert_eq!(stored.count("frames"), 13_833);

    let again = replay(vec![path], log.clone()).await.unwrap();
    assert_eq!(again.counts.frames, 0);
    assert_eq!(
        Stored::of(log.as_ref()).await,
        stored,
        "a finished replay writes nothing"
    );
}

#[tokio::test]
async fn data_of_another_source_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let other = frames::join(&frames::identities(1, 30), u32::to_be_bytes);
    replay(vec![write(folder.path(), "other", &other)], log.clone())
        .await
        .unwrap();
    let error = replay(vec![frames::fixture("frames/pds.frames.zst")], log).await;
    assert!(
        matches!(error, Err(IngestError::OtherSource { .. })),
        "{error:?}"
    );
}

#[test]
fn a_recording_is_identified_by_its_first_frames_not_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let host = |name: &str, bytes: &[u8]| {
        let path = write(folder.path(), name, bytes);
        RecordingSource::open(vec![path]).unwrap().host().clone()
    };
    let all = frames::relay();
    let big = host("big", &frames::join(&all, u32::to_be_bytes));
    let little = host("little", &compress(&frames::join(&all, u32::to_le_bytes)));
    let longer = host("longer", &frames::join(&all[..20], u32::to_be_bytes));
    let other = host("other", &frames::join(&all[1..], u32::to_be_bytes));
    assert!(big.starts_with("recording:") && big.len() == 26, "{big}");
    assert!(big == little && big == longer && big != other);
}

/// The error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
