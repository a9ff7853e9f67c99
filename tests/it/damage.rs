//! The embedded log and store after a kill, a truncation or a flipped bit.
//!
//! | family | what it proves |
//! |---|---|
//! | `after_a_crash...` | a file truncated at any byte after the last flush is read up to its last
//! whole message |
//! | `a_bit_flipped...` | damage of durable data is an error; damage of other data truncates it |
//! | `another_process...` | everything is in the files: a second handle sees what the first one
//! wrote |
//! | `a_commit...` | the store opens at its last commit, with its term |

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{Control, Order, StoreError, ViewReader, ViewStore};
use skytide_core::view::ViewId;
use skytide_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use skytide_tests::contract_log::{events, read, tick, write};
use skytide_tests::contract_store::{commit, committed, key, put, rows};

/// The offset of the first message in a segment, and the range of the slots with its synced
/// positions (`docs/log.md`).
const HEADER_BYTES: u64 = 256;
const SLOTS: std::ops::Range<u64> = 64..192;

fn open(folder: &Path, segment_bytes: u64) -> Result<EmbeddedLog, LogError> {
    let options = LogOptions {
        segment_bytes,
        ..LogOptions::default()
    };
    EmbeddedLog::open(folder, options)
}

/// The segments of a log, in order.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|it| it.extension().is_some_and(|it| it == "log"))
        .collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for segment in segments(from) {
        std::fs::copy(&segment, to.join(segment.file_name().unwrap())).unwrap();
    }
}

fn cut(file: &Path, bytes: u64) {
    OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(bytes)
        .unwrap();
}

fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

async fn all(log: &EmbeddedLog) -> Vec<Message> {
    let bounds = log.bounds().await.unwrap();
    let mut reader = log.reader(bounds.first).await.unwrap();
    let read = read(&mut *reader, (bounds.next.0 - bounds.first.0) as usize).await;
    read.into_iter().map(|(_, message)| message).collect()
}

/// Writes 5 durable messages, of which the last one is a tick, and appends 5 more without a flush,
/// of which the last one is also a tick. Returns the messages and the offset at which each one
/// ends.
async fn half_flushed(folder: &Path) -> (Vec<Message>, Vec<u64>) {
    let log = open(folder, 1 << 20).unwrap();
    let mut writer = log.writer().await.unwrap();
    let mut messages = [events(0, 4), vec![tick(1)], events(10, 4), vec![tick(2)]].concat();
    write(&mut *writer, messages[..5].to_vec()).await;
    let file = &segments(folder)[0];
    let mut ends = vec![std::fs::metadata(file).unwrap().len()];
    for message in messages.split_off(5) {
        writer.append(vec![message.clone()]).await.unwrap();
        ends.push(std::fs::metadata(file).unwrap().len());
        messages.push(message);
    }
    (messages, ends)
}

#[tokio::test]
async fn after_a_crash_the_log_is_read_up_to_its_last_whole_message() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, ends) = half_flushed(&folder.path().join("log")).await;
    for end in ends[0]..=ends[5] {
        let crashed = folder.path().join(format!("cut{end}"));
        copy(&folder.path().join("log"), &crashed);
        cut(&segments(&crashed)[0], end);

        let log = open(&crashed, 1 << 20).unwrap();
        let whole = 5 + ends[1..].iter().filter(|it| **it <= end).count();
        assert_eq!(all(&log).await, messages[..whole], "cut at {end}");
        let (_, newest) = log.newest_tick().await.unwrap().unwrap();
        assert_eq!(newest.epoch, Epoch(if whole == 10 { 2 } else { 1 }));

        let mut writer = log.writer().await.unwrap();
        write(&mut *writer, events(70, 2)).await;
        let wanted = [&messages[..whole], &events(70, 2)].concat();
        assert_eq!(all(&log).await, wanted, "appended after a cut at {end}");
        std::fs::remove_dir_all(crashed).unwrap();
    }
}

#[tokio::test]
async fn a_tail_of_zeros_or_noise_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, ends) = half_flushed(&folder.path().join("log")).await;
    for byte in [0, 1, 0x7f, 0xff] {
        let crashed = folder.path().join(format!("tail{byte}"));
        copy(&folder.path().join("log"), &crashed);
        let file = &segments(&crashed)[0];
        let mut bytes = std::fs::read(file).unwrap();
        bytes.truncate(ends[3] as usize);
        bytes.resize(ends[3] as usize + 10_000, byte);
        std::fs::write(file, bytes).unwrap();
        assert_eq!(all(&open(&crashed, 1 << 20).unwrap()).await, messages[..8]);
        assert_eq!(std::fs::metadata(file).unwrap().len(), ends[3]);
    }
}

#[tokio::test]
async fn missing_durable_bytes_are_an_error_with_segment_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let (_, ends) = half_flushed(&folder.path().join("log")).await;
    for end in (0..ends[0]).step_by(7).chain([ends[0] - 1]) {
        let crashed = folder.path().join(format!("cut{end}"));
        copy(&folder.path().join("log"), &crashed);
        cut(&segments(&crashed)[0], end);
        match open(&crashed, 1 << 20) {
            // Without its header and slots a file does not contain any synced position.
            Err(LogError::Failed { .. }) if end < SLOTS.end => {}
            Err(LogError::Damaged(text)) => {
                assert!(
                    text.contains("segment 00000000000000000001.log, offset"),
                    "{text}"
                );
            }
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_bit_flipped_in_durable_bytes_is_an_error_and_elsewhere_truncates() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, ends) = half_flushed(&folder.path().join("log")).await;
    for at in (0..36).chain(HEADER_BYTES..ends[5]) {
        let crashed = folder.path().join(format!("flip{at}"));
        copy(&folder.path().join("log"), &crashed);
        flip(&segments(&crashed)[0], at);
        match open(&crashed, 1 << 20) {
            Err(LogError::Damaged(text)) if at < ends[0] => assert!(text.contains("offset")),
            Ok(log) if at >= ends[0] => {
                let whole = 5 + ends[1..].iter().filter(|it| **it <= at).count();
                assert_eq!(all(&log).await, messages[..whole], "flipped at {at}");
            }
            other => panic!("flipped at {at}: {other:?}"),
        }
        std::fs::remove_dir_all(crashed).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_synced_position_leaves_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let (messages, _) = half_flushed(&folder.path().join("log")).await;
    for at in SLOTS {
        let crashed = folder.path().join(format!("flip{at}"));
        copy(&folder.path().join("log"), &crashed);
        flip(&segments(&crashed)[0], at);
        assert_eq!(
            all(&open(&crashed, 1 << 20).unwrap()).await,
            messages,
            "flipped at {at}"
        );
        std::fs::remove_dir_all(crashed).unwrap();
    }
}

/// A log of many segments.
async fn rolled(folder: &Path) -> Vec<Message> {
    let log = open(folder, 2_000).unwrap();
    let mut writer = log.writer().await.unwrap();
    let mut messages = Vec::new();
    for epoch in 0..10 {
        let batch = [events(epoch * 10, 5), vec![tick(epoch)]].concat();
        messages.extend(batch.clone());
        write(&mut *writer, batch).await;
    }
    assert!(segments(folder).len() > 4);
    messages
}

#[tokio::test]
async fn a_bit_flipped_in_any_segment_is_never_read_as_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let messages = rolled(&folder.path().join("log")).await;
    let files = segments(&folder.path().join("log"));
    for (number, file) in files.iter().enumerate() {
        for at in (HEADER_BYTES..std::fs::metadata(file).unwrap().len()).step_by(37) {
            let crashed = folder.path().join(format!("flip{number}-{at}"));
            copy(&folder.path().join("log"), &crashed);
            flip(&segments(&crashed)[number], at);
            let text = match open(&crashed, 2_000) {
                Ok(log) => {
                    let mut reader = log.reader(Seq(1)).await.unwrap();
                    let mut read = Vec::new();
                    let error = loop {
                        match reader.next(3).await {
                            Ok(more) => read.extend(more.into_iter().map(|(_, it)| it)),
                            Err(error) => break error.to_string(),
                        }
                    };
                    assert_eq!(read, messages[..read.len()]);
                    error
                }
                Err(error) => error.to_string(),
            };
            assert!(
                text.contains("damaged") && text.contains("offset"),
                "{number}, {at}: {text}"
            );
            std::fs::remove_dir_all(crashed).unwrap();
        }
    }
}

#[tokio::test]
async fn truncated_missing_or_foreign_segments_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    rolled(&folder.path().join("log")).await;
    rolled(&folder.path().join("other")).await;
    let harms: [fn(&[PathBuf], &[PathBuf]); 3] = [
        |files, _| cut(&files[1], std::fs::metadata(&files[1]).unwrap().len() - 1),
        |files, _| std::fs::remove_file(&files[1]).unwrap(),
        |files, other| assert!(std::fs::copy(&other[2], &files[2]).is_ok()),
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let crashed = folder.path().join(format!("harm{number}"));
        copy(&folder.path().join("log"), &crashed);
        harm(&segments(&crashed), &segments(&folder.path().join("other")));
        let refused = open(&crashed, 2_000);
        assert!(
            matches!(refused, Err(LogError::Damaged(_))),
            "harm {number}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn an_unfinished_segment_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let messages = rolled(folder.path()).await;
    std::fs::write(folder.path().join("00000000000000000061.new"), "SKYT").unwrap();
    assert_eq!(all(&open(folder.path(), 2_000).unwrap()).await, messages);
    assert_eq!(rolled(folder.path()).await.len(), 60);
    assert_eq!(all(&open(folder.path(), 2_000).unwrap()).await.len(), 120);
}

/// A second handle of the same folder represents another process: the two share nothing except the
/// files.
#[tokio::test]
async fn another_process_reads_what_this_one_writes_and_trims() {
    let folder = tempfile::tempdir().unwrap();
    let ours = open(folder.path(), 2_000).unwrap();
    let theirs = open(folder.path(), 2_000).unwrap();
    let mut writer = ours.writer().await.unwrap();
    assert!(matches!(theirs.writer().await.err(), Some(LogError::Held)));
    let opened_meanwhile = open(folder.path(), 2_000).unwrap();

    let mut reader = theirs.reader(Seq(1)).await.unwrap();
    let mut last_read = Vec::new();
    for epoch in 1..=20 {
        let batch = [events(epoch * 10, 5), vec![tick(epoch)]].concat();
        let (_, read) = tokio::join!(write(&mut *writer, batch.clone()), read(&mut *reader, 6));
        last_read = read.into_iter().map(|(_, message)| message).collect();
        assert_eq!(last_read, batch);
    }
    assert_eq!(last_read[5], tick(20));
    for log in [&theirs, &opened_meanwhile] {
        assert_eq!(log.bounds().await.unwrap(), ours.bounds().await.unwrap());
        assert_eq!(log.newest_tick().await.unwrap().unwrap().1.epoch, Epoch(20));
    }
    theirs.trim(Seq(60)).await.unwrap();
    let bounds = ours.bounds().await.unwrap();
    assert!((2..=60).contains(&bounds.first.0), "{bounds:?}");
    drop(writer);
    theirs.writer().await.unwrap();
}

#[tokio::test]
async fn an_unfinished_commit_is_rolled_back_when_the_store_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap());
    let store = open();
    let term = store.lead().await.unwrap().term;
    commit(&*store, term, 7, vec![(ViewId::Posts, vec![put("a", "7")])]).await;
    store.begin(term, Epoch(9).into()).await.unwrap();
    store
        .write(term, ViewId::Posts, vec![put("a", "9"), put("b", "9")])
        .await
        .unwrap();
    drop(store);

    let store = open();
    let wanted = Control {
        term,
        committed: Some(committed(7)),
        intent: None,
        ..Control::default()
    };
    assert_eq!(store.control().await.unwrap(), wanted);
    assert_eq!(
        rows(&*store, ViewId::Posts, Order::First).await,
        [(key("a"), 7, b"7".into())]
    );
    assert!(store.lead().await.unwrap().term > term);
}

#[tokio::test]
async fn a_store_can_be_opened_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap();
    assert!(EmbeddedStore::open(folder.path(), StoreOptions::default()).is_err());
    drop(store);
    EmbeddedStore::open(folder.path(), StoreOptions::default()).unwrap();
}

/// Truncates the store's journal at any byte: the store opens exactly at the end of some commit.
#[tokio::test]
async fn a_store_with_a_truncated_journal_opens_at_the_end_of_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    {
        let store = EmbeddedStore::open(&path, StoreOptions::default()).unwrap();
        let term = store.lead().await.unwrap().term;
        for epoch in 1..=5 {
            let row = epoch.to_string();
            let changes = ["a", "b", "c"].map(|name| put(name, &row)).to_vec();
            commit(&store, term, epoch, vec![(ViewId::Posts, changes)]).await;
        }
    }
    let journal = journal(&path);
    let used = used_bytes(&journal);
    let mut seen = std::collections::BTreeSet::new();
    for bytes in (0..used).rev().step_by(11).take(80) {
        cut(&journal, bytes);
        let store = EmbeddedStore::open(&path, StoreOptions::default()).unwrap();
        let epoch = store
            .control()
            .await
            .unwrap()
            .committed
            .map_or(0, |it| it.epoch.0);
        let stored = rows(&store, ViewId::Posts, Order::First).await;
        let wanted = if epoch == 0 { 0 } else { 3 };
        assert_eq!(stored.len(), wanted, "cut at {bytes}");
        assert!(
            stored.iter().all(|row| row.1 == epoch),
            "cut at {bytes}: {stored:?}"
        );
        seen.insert(epoch);
    }
    assert!(seen.len() > 2, "the cuts reached only {seen:?}");
}

fn journal(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut journals: Vec<_> = entries
        .filter(|it| it.extension().is_some_and(|it| it == "jnl"))
        .collect();
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
}

/// The offset after the last byte that is not 0: the database preallocates its journal.
fn used_bytes(file: &Path) -> u64 {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at as u64 + 1)
}

/// The database writes sorted files in the background, so a failure shows late; yet no commit after
/// it counts.
#[tokio::test]
async fn a_store_that_failed_to_write_a_file_refuses_commits_until_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let options = StoreOptions {
        memtable_bytes: 1 << 16,
        ..StoreOptions::default()
    };
    let store = EmbeddedStore::open(&path, options).unwrap();
    let term = store.lead().await.unwrap().term;
    let (files, away) = (path.join("keyspaces"), path.join("away"));
    std::fs::rename(&files, &away).unwrap();
    let large = put("large", vec![7; 1 << 17]);
    commit(&store, term, 1, vec![(ViewId::Posts, vec![large])]).await;
    let mut epoch = 1;
    let spent = loop {
        epoch += 1;
        store.begin(term, Epoch(epoch).into()).await.unwrap();
        if let Err(error) = store.commit(term, committed(epoch)).await {
            break error;
        }
    };
    assert!(matches!(spent, StoreError::Poisoned { .. }), "{spent:?}");
    let text = store.poisoned().await.to_string();
    assert!(text.contains("until it is opened again"), "{text}");

    std::fs::rename(&away, &files).unwrap();
    let again = store.commit(term, committed(epoch)).await;
    assert!(
        matches!(again, Err(StoreError::Poisoned { .. })),
        "{again:?}"
    );
    let found = rows(&store, ViewId::Posts, Order::First).await;
    assert_eq!(found, [(key("large"), 1, vec![7; 1 << 17])]);
    drop(store);

    let store = EmbeddedStore::open(&path, options).unwrap();
    let control = store.lead().await.unwrap();
    assert_eq!(control.committed, Some(committed(epoch - 1)));
    commit(&store, control.term, epoch, vec![]).await;
    assert_eq!(rows(&store, ViewId::Posts, Order::First).await, found);
}
