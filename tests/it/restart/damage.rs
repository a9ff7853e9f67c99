//! Damaged or foreign data is reported and never counted.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::Log;
use skytide_dataflow::{CheckpointOptions, DataflowError, Options};
use skytide_embedded::EmbeddedCheckpoints;
use skytide_tests::model::recount;
use tempfile::TempDir;

use crate::recount::harness::{Case, Ground};
use crate::recount::logs::between;

/// Two complete checkpoints in files, and a log that begins at the older one.
struct Damaged {
    case: Case,
    messages: Vec<Message>,
    ground: Ground,
    folder: TempDir,
}

const AGES: [usize; 2] = [20, 40];
const END: usize = 50;

impl Damaged {
    /// The boundaries of batches decide when a checkpoint begins: repeats until they begin at these
    /// epochs.
    async fn new() -> Self {
        loop {
            let made = Self::made().await;
            if made.listed().await == [40, 20] {
                return made;
            }
        }
    }

    async fn made() -> Self {
        let case = Case::of(1).with(2, 60);
        let messages = case.world();
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = EmbeddedCheckpoints::open(folder.path()).expect("it opens");
        let ground = Ground {
            checkpoints: Some(Arc::new(checkpoints)),
            ..Ground::new()
        };
        let mut begin = 0;
        for end in AGES {
            ground.append(between(&messages, begin, end)).await;
            begin = end;
            let mut options = case.dataflow();
            options.checkpoint.events = Some(0);
            options.checkpoint.shards_per_cut = Some(64);
            case.run_on(&ground, options)
                .await
                .expect("the run completes");
        }
        ground.append(between(&messages, begin, END)).await;
        ground.store.take();
        Self {
            case,
            messages,
            ground,
            folder,
        }
    }

    async fn listed(&self) -> Vec<u64> {
        let checkpoints = self.ground.checkpoints.as_ref().expect("a store");
        let listed = checkpoints.list().await.expect("a list");
        listed.into_iter().map(|it| it.checkpoint.0).collect()
    }

    /// A file of a checkpoint: the largest one whose name contains `ending`.
    fn file(&self, epoch: usize, ending: &str) -> PathBuf {
        let files = fs::read_dir(self.folder.path()).expect("a folder");
        let files = files.map(|file| file.expect("a file").path());
        let ours = files.filter(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.starts_with(&format!("{epoch:020}.")) && name.contains(ending)
        });
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |about| about.len());
        ours.max_by_key(size).expect("a file of this kind")
    }

    fn flip(&self, epoch: usize, ending: &str) {
        self.flip_at(epoch, ending, |length| length / 2);
    }

    /// Flips a bit of the byte that `at` computes from the length of the file.
    fn flip_at(&self, epoch: usize, ending: &str, at: impl Fn(usize) -> usize) {
        let path = self.file(epoch, ending);
        let mut bytes = fs::read(&path).expect("a readable file");
        let at = at(bytes.len());
        bytes[at] ^= 4;
        fs::write(&path, bytes).expect("a writable file");
    }

    async fn restart(&self, change: impl FnOnce(&mut Options)) -> Result<(), DataflowError> {
        let mut options = self.case.dataflow();
        options.checkpoint = CheckpointOptions {
            interval: None,
            ..CheckpointOptions::default()
        };
        change(&mut options);
        self.case.run_on(&self.ground, options).await.map(drop)
    }

    async fn restart_completes(&self) {
        self.restart(|_| ()).await.expect("the restart completes");
        let expected = recount(&self.messages, self.case.options);
        self.case
            .compare(&expected[..END], &self.ground.store.take());
    }

    async fn refused(&self) -> String {
        let refused = self.restart(|_| ()).await.expect_err("a refusal");
        assert!(
            self.ground.store.take().is_empty(),
            "something was committed"
        );
        refused.to_string()
    }
}

/// Parts of the names of files. Runs that a checkpoint shares with the previous one are not among
/// them: if they are damaged, both are.
const KINDS: [&str; 4] = ["shard", "-e4", "sums", "manifest"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_with_a_flipped_byte_is_skipped_for_the_previous_one() {
    for kind in KINDS {
        let damaged = Damaged::new().await;
        damaged.flip(40, kind);
        damaged.restart_completes().await;
        assert_eq!(
            damaged.listed().await,
            [40, 20],
            "{kind}: it stays until a newer one is complete"
        );
    }
}

/// The magic, the first and the last byte of the header's checksum, and the last byte of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_the_header_and_the_last_byte_of_a_run_is_checked() {
    const PLACES: [fn(usize) -> usize; 4] = [|_| 0, |_| 24, |_| 27, |length| length - 1];
    for (number, place) in PLACES.into_iter().enumerate() {
        let damaged = Damaged::new().await;
        damaged.flip_at(40, "-e4", place);
        damaged.restart_completes().await;
        assert_eq!(damaged.listed().await, [40, 20], "place {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_a_run_that_checkpoints_share_is_reported_with_its_offset() {
    let damaged = Damaged::new().await;
    damaged.flip(40, "-e2");
    let text = damaged.refused().await;
    for part in ["checkpoint 40: section run", "checkpoint 20: section run"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains(" is damaged at byte "), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_or_missing_file_is_damage() {
    let damaged = Damaged::new().await;
    let path = damaged.file(40, "shard");
    let bytes = fs::read(&path).expect("a readable file");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("a writable file");
    damaged.restart_completes().await;

    let damaged = Damaged::new().await;
    fs::remove_file(damaged.file(40, "sums")).expect("an existing file");
    damaged.restart_completes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_checkpoints_are_damaged_and_the_log_is_trimmed_the_start_is_refused() {
    let damaged = Damaged::new().await;
    damaged.flip(40, "shard");
    damaged.flip(20, "manifest");
    let text = damaged.refused().await;
    for part in [
        "checkpoint 40: section",
        "checkpoint 20: its manifest",
        "--indexer-rebuild",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(
        damaged.listed().await,
        [40, 20],
        "a refusal removes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rebuild_option_recounts_what_the_log_still_has() {
    let damaged = Damaged::new().await;
    damaged.flip(40, "shard");
    damaged.flip(20, "shard");
    let started = damaged.restart(|options| {
        options.rebuild = true;
        options.checkpoint.shards_per_cut = Some(64);
    });
    started.await.expect("the rebuild completes");
    let commits = damaged.ground.store.take();
    let last = commits.last().expect("a commit");
    assert_eq!(last.committed.epoch.0 as usize, END);
    let after = between(&damaged.messages, AGES[0], END);
    let first = after.first().map(|message| match message {
        Message::Event(event) => event.time,
        Message::Tick(tick) => tick.time,
    });
    assert_eq!(
        Some(last.committed.since),
        first,
        "`since` is the time from which events are counted"
    );
    let expected = recount(after, damaged.case.options);
    damaged.case.compare(&expected, &commits);
    assert_eq!(
        damaged.listed().await.len(),
        1,
        "the rebuild made a checkpoint"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_is_refused() {
    let mut damaged = Damaged::new().await;
    damaged.ground.log = MemoryLog::new(8);
    damaged.ground.append(&damaged.messages).await;
    let text = damaged.refused().await;
    assert!(text.contains("from another log"), "{text}");
}

/// It is the same log, but the messages that were written after a power cut differ from those that
/// the store has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_positions_were_used_again_is_counted_from_a_checkpoint_that_it_has() {
    let mut damaged = Damaged::new().await;
    let change = |epoch: usize, messages: &[Message]| -> Vec<Message> {
        let changed = messages.iter().cloned().map(|mut message| {
            if let Message::Tick(tick) = &mut message
                && tick.epoch.0 as usize == epoch
            {
                tick.frames += 1;
            }
            message
        });
        changed.collect()
    };
    // The tick of the newest commit of the store, and of the newest checkpoint, differs; the older
    // checkpoint resumes before it.
    damaged.ground.log = MemoryLog::new(7);
    let changed = change(40, between(&damaged.messages, 0, END));
    damaged.ground.append(&changed).await;
    damaged.restart_completes().await;
    assert_eq!(damaged.ground.store.replacing(), 1);
    assert_eq!(damaged.listed().await, [40, 20], "a start removes nothing");

    // Another tick, which the store does not know: only the older checkpoint does.
    let mut damaged = Damaged::new().await;
    damaged.ground.log = MemoryLog::new(7);
    damaged
        .ground
        .append(&change(20, between(&damaged.messages, 0, END)))
        .await;
    damaged.flip(40, "sums");
    damaged.restart_completes().await;
    assert_eq!(damaged.ground.store.replacing(), 0);
    assert_eq!(damaged.listed().await, [40, 20], "a start removes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_reach_back_to_a_checkpoint_makes_it_unusable() {
    let damaged = Damaged::new().await;
    damaged.flip(40, "sums");
    let place = between(&damaged.messages, 0, 30).len() as u64;
    damaged
        .ground
        .log
        .trim(skytide_core::id::Seq(place))
        .await
        .expect("trimmed");
    let text = damaged.refused().await;
    assert!(
        text.contains("checkpoint 20: it needs the log from"),
        "{text}"
    );
}

/// The rows were lost, the checkpoints were not: all rows are written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_is_filled_from_a_checkpoint() {
    let mut damaged = Damaged::new().await;
    damaged.ground.store = Arc::default();
    damaged.restart_completes().await;
}

/// An older copy of the store was put back: all rows are written again from the newest checkpoint, which stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_before_the_newest_checkpoint_is_filled_from_it() {
    let mut damaged = Damaged::new().await;
    let fresh = Ground {
        log: MemoryLog::new(7),
        ..Ground::new()
    };
    fresh.append(between(&damaged.messages, 0, 30)).await;
    let case = damaged.case;
    case.run_on(&fresh, case.dataflow())
        .await
        .expect("the run completes");
    fresh.store.take();
    damaged.ground.store = fresh.store;
    damaged.restart_completes().await;
    assert_eq!(damaged.ground.store.replacing(), 1);
    assert_eq!(damaged.listed().await, [40, 20]);
}
