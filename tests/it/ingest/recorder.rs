//! Making recordings, and continuing them.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use skytide_ingest::RelaySource;
use skytide_ingest::record::{RecordError, RecordFileError, RecordOptions, Recorded, record};
use skytide_tests::relay::{Act, RelayServer};
use tokio_util::sync::CancellationToken;

use super::frames;
use super::harness::{clock, relay_options};

async fn run(
    relay: &RelayServer,
    file: &Path,
    frames: u64,
    stop: CancellationToken,
) -> Result<Recorded, RecordError> {
    let mut source = RelaySource::new(relay_options(relay), clock()).unwrap();
    let options = RecordOptions {
        file: file.to_owned(),
        frames: Some(frames),
        duration: None,
    };
    record(options, &mut source, stop, &|_| {}).await
}

fn recorded(file: &Path) -> Vec<Vec<u8>> {
    let bytes = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    frames::split(&bytes, u32::from_be_bytes)
}

#[tokio::test]
async fn a_recording_holds_the_frames_as_they_came_over_several_connections() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.frames.zst");
    let relay = RelayServer::start(frames::relay());
    relay.script([
        vec![Act::Frames(30), Act::Close(1001)],
        vec![
            Act::Frames(30),
            Act::Text("x".to_owned()),
            Act::Again(5),
            Act::Close(1001),
        ],
    ]);
    let done = run(&relay, &file, 150, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((done.frames, done.left_out), (150, 1));
    assert_eq!(recorded(&file), frames::relay());
}

#[tokio::test]
async fn a_truncated_recording_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.frames.zst");
    let relay = RelayServer::start(frames::relay());
    for frames in [20, 70, 150] {
        run(&relay, &file, frames, CancellationToken::new())
            .await
            .unwrap();
    }
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(relay.cursors().len(), 3);
    for cut in [
        0,
        4,
        9,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() - 1,
        whole.len(),
    ] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let done = run(&relay, &file, 150, CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(done.found.frames + done.frames, 150, "cut at {cut}");
        assert_eq!(recorded(&file), frames::relay(), "cut at {cut}");
    }
}

#[tokio::test]
async fn the_beginning_of_a_recording_of_one_zstd_frame_is_preserved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foreign.zst");
    let bytes = frames::join(&frames::relay(), u32::to_be_bytes);
    let whole = zstd::encode_all(bytes.as_slice(), 3).unwrap();
    let relay = RelayServer::start(frames::relay());
    for end in [whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..end]).unwrap();
        let done = run(&relay, &file, 150, CancellationToken::new())
            .await
            .unwrap();
        assert!(done.found.frames > 20, "{done:?}");
        assert_eq!(recorded(&file), frames::relay());
    }
}

#[tokio::test]
async fn reported_frames_are_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.frames.zst");
    let relay = RelayServer::start(frames::relay());
    let mut source = RelaySource::new(relay_options(&relay), clock()).unwrap();
    let (stop, on_disk) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let options = RecordOptions {
        file: file.clone(),
        frames: None,
        duration: Some(Duration::from_secs(3_600)),
    };
    let report = |done: &Recorded| {
        on_disk
            .lock()
            .unwrap()
            .push((done.frames, recorded(&file).len() as u64));
        if done.frames == 150 {
            stop.cancel();
        }
    };
    record(options, &mut source, stop.clone(), &report)
        .await
        .unwrap();
    let on_disk = on_disk.into_inner().unwrap();
    assert!(
        on_disk.iter().all(|(reported, found)| reported == found),
        "{on_disk:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_our_recording_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let relay = RelayServer::start(frames::relay());
    let little = frames::join(&frames::relay(), u32::to_le_bytes);
    for (name, bytes) in [
        ("text", b"a text that somebody needs".to_vec()),
        ("plain", frames::join(&frames::relay(), u32::to_be_bytes)),
        ("little", zstd::encode_all(little.as_slice(), 3).unwrap()),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, &bytes).unwrap();
        let error = run(&relay, &file, 150, CancellationToken::new())
            .await
            .unwrap_err();
        assert!(matches!(error, RecordError::File(_)), "{name}: {error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}");
    }
}

#[tokio::test]
async fn two_processes_do_not_record_into_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.zst");
    let file = std::fs::File::create(&path).unwrap();
    file.lock().unwrap();
    let relay = RelayServer::start(frames::relay());
    let error = run(&relay, &path, 1, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RecordError::File(RecordFileError::Held(_))),
        "{error:?}"
    );
}
