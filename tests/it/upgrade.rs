//! Data that a version before this one wrote is opened, counted on, and gives the same numbers.
//!
//! `tests/fixtures/upgrade/data-DATE.tar.zst` holds the data folder of a `skytide up` of that day, after 25 seconds of a
//! simulated network and two checkpoints, and what its `skytide export` wrote. A version that changes a stored format
//! adds the folder of the version before it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use skytide::export::{Format, export};
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{Order, ViewReader};
use skytide_core::view::{CoverageKey, CoverageKind, ViewId};
use skytide_dataflow::{CheckpointOptions, Metrics, Options, Ports};
use skytide_embedded::{EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use skytide_tests::checkers::difference;
use skytide_tests::contract_store::rows;
use skytide_tests::model::{self, Policy, Rows, recount};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The fixtures, each in a folder of its own: `data` and `expected`.
fn fixtures() -> Vec<TempDir> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/upgrade");
    let files = fs::read_dir(folder).expect("the fixtures");
    let files = files.map(|file| file.expect("a file").path());
    let unpacked: Vec<TempDir> = files.map(|file| unpacked(&file)).collect();
    assert!(!unpacked.is_empty(), "there is no fixture");
    unpacked
}

fn unpacked(file: &Path) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = fs::read(file).expect("its bytes");
    let bytes = zstd::decode_all(packed.as_slice()).expect("zstd");
    let mut tar = Command::new("tar");
    tar.args(["-x", "-C"])
        .arg(folder.path())
        .stdin(Stdio::piped());
    let mut tar = tar.spawn().expect("tar runs");
    let mut input = tar.stdin.take().expect("piped");
    input.write_all(&bytes).expect("tar reads");
    drop(input);
    assert!(tar.wait().expect("tar ends").success());
    folder
}

/// A data folder, opened.
struct Opened {
    log: EmbeddedLog,
    store: Arc<EmbeddedStore>,
    checkpoints: EmbeddedCheckpoints,
}

fn opened(data: &Path) -> Opened {
    let log = EmbeddedLog::open(&data.join("log"), LogOptions::default());
    let store = EmbeddedStore::open(&data.join("store"), StoreOptions::default());
    let checkpoints = EmbeddedCheckpoints::open(&data.join("checkpoints"));
    Opened {
        log: log.expect("the log opens"),
        store: Arc::new(store.expect("the store opens")),
        checkpoints: checkpoints.expect("the checkpoints open"),
    }
}

impl Opened {
    async fn messages(&self) -> Vec<Message> {
        let (newest, _) = self.log.newest_tick().await.expect("read").expect("a tick");
        let mut reader = self.log.reader(Seq(1)).await.expect("it begins at 1");
        let mut messages = Vec::new();
        while messages.len() < newest.0 as usize {
            let read = reader.next(4_096).await.expect("read");
            messages.extend(read.into_iter().map(|(_, message)| message));
        }
        messages.truncate(newest.0 as usize);
        messages
    }

    /// Counts everything that the log holds, from a checkpoint on.
    async fn counted(&self) {
        let newest = self.log.newest_tick().await.expect("read").expect("a tick");
        let newest = newest.1.epoch.0 as i64;
        let ports = Ports {
            log: Arc::new(self.log.clone()),
            store: self.store.clone(),
            checkpoints: Some(Arc::new(self.checkpoints.clone())),
        };
        let options = Options {
            workers: 2,
            verify: true,
            checkpoint: CheckpointOptions {
                interval: None,
                ..CheckpointOptions::default()
            },
            ..Options::default()
        };
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let life = skytide_dataflow::run(options, ports, metrics.clone(), stop.clone());
        let life = tokio::spawn(life);
        while metrics.epoch.get() < newest && !life.is_finished() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        life.await.expect("no panic").expect("it counts");
        assert!(
            metrics.restore_seconds.get() > 0.0,
            "no checkpoint was used"
        );
    }

    async fn rows(&self) -> Rows {
        let mut all = Rows::new();
        for &view in ViewId::ALL {
            let found = rows(&*self.store, view, Order::First).await;
            let found = found.into_iter().map(|(key, _, row)| (key, row.into()));
            all.insert(view, found.collect());
        }
        all
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_former_version_shows_the_same_numbers() {
    for fixture in fixtures() {
        let opened = opened(&fixture.path().join("data"));
        let shown = fixture.path().join("shown");
        let written = export(&opened.store.snapshot_reader(), &shown, Format::Ndjson).await;
        written.expect("it is exported");
        let expected = files(&fixture.path().join("expected"));
        // Of a view that the former version did not have, nothing is counted yet.
        let is_old = |file: &PathBuf| expected.iter().any(|it| it.file_name() == file.file_name());
        let (old, new): (Vec<_>, Vec<_>) = files(&shown).into_iter().partition(is_old);
        assert_eq!(old.len(), expected.len());
        for file in new {
            let text = fs::read_to_string(&file).expect("text");
            assert_eq!(text, "", "{file:?}");
        }
        for expected in expected {
            let shown = shown.join(expected.file_name().expect("a name"));
            let read = |path: &Path| fs::read_to_string(path).expect("text");
            assert_eq!(read(&shown), read(&expected), "{shown:?}");
        }
    }
}

/// Rows that are computed again from checkpoint and log equal those in the store by number and hash, or this fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_goes_on_from_a_checkpoint_of_a_former_version() {
    for fixture in fixtures() {
        let opened = opened(&fixture.path().join("data"));
        let before = opened.store.control().await.expect("read").committed;
        opened.counted().await;
        let after = opened.store.control().await.expect("read").committed;
        assert!(after.map(|it| it.epoch) >= before.map(|it| it.epoch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_checkpoint_of_a_former_version_give_the_rows_of_a_recount() {
    for fixture in fixtures() {
        let data = fixture.path().join("data");
        fs::remove_dir_all(data.join("store")).expect("removed");
        let opened = opened(&data);
        opened.counted().await;
        let options = model::Options {
            policy: Policy::ActiveAccountsOnly,
            interactions_days: Some(8),
        };
        let mut expected = recount(&opened.messages().await, options);
        let (_, mut expected) = expected.pop().expect("an epoch");
        let mut found = opened.rows().await;
        // A checkpoint of a version without `coverage` does not say what was missing before it.
        let known_since = |rows: &mut Rows| {
            let rows = rows.remove(&ViewId::Coverage).unwrap_or_default();
            let mut keys = rows
                .into_keys()
                .filter_map(|key| key.decode::<CoverageKey>().ok());
            let known = keys.find(|key| key.kind == CoverageKind::Known);
            known.map(|key| key.start)
        };
        let (since_first, since_later) = (known_since(&mut expected), known_since(&mut found));
        assert!(since_later.is_none() || since_later >= since_first);
        assert_eq!(difference(&expected, &found), None);
    }
}

/// CRC-32 (ISO-HDLC, as in <https://www.rfc-editor.org/rfc/rfc1952#section-8>).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

/// The other way round: a version before the one that wrote the data says so, and calls nothing damaged.
#[test]
fn a_segment_of_a_later_format_is_refused_as_such() {
    for fixture in fixtures() {
        let log = fixture.path().join("data/log");
        let segment = files(&log)
            .into_iter()
            .find(|it| it.extension().is_some_and(|it| it == "log"));
        let segment = segment.expect("a segment");
        let mut bytes = fs::read(&segment).expect("read");
        bytes[8] += 1;
        let checksum = crc32(&bytes[..32]);
        bytes[32..36].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&segment, bytes).expect("written");
        let refused = EmbeddedLog::open(&log, LogOptions::default()).expect_err("a later format");
        assert!(matches!(refused, LogError::Newer(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("written by a newer version"), "{text}");
    }
}
