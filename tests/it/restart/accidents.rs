//! Every row of the table in `dataflow/src/runtime/recover.rs`: what a start does with a log, a
//! store and checkpoints of which one was lost, restored from a backup, or belongs to something
//! else.
//!
//! ```text
//! history A   1 ─────── 20 ──────── 30 ──────── 40 ────────── 50
//! history B                          └─ 31' ─── 40' ───────── 50'     after 30 was the last tick that a log kept
//! ```

mod sections;

use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog};
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{Intent, TickRef, ViewReader, ViewStore};
use skytide_dataflow::DataflowError;
use skytide_tests::checkers::Recorder;
use skytide_tests::model::recount;

use super::ground::Lives;
use crate::recount::harness::{Case, Ground};
use crate::recount::logs::between;

pub const END: usize = 50;
/// The last epoch that a log kept which lost its tail.
pub const KEPT: usize = 30;

/// What the log is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LogIs {
    /// History A.
    Whole,
    /// History A up to `KEPT`.
    Lost,
    /// The same, and history B after it.
    LostAndCountedOn,
    /// History A, of another log.
    Other,
    /// History A from the tick of this epoch on.
    From(usize),
    /// As `LostAndCountedOn`, from the tick of this epoch on.
    CountedOnFrom(usize),
}

/// What the store is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StoreIs {
    Empty,
    /// At this epoch of history A.
    At(usize),
    /// The same, with rows of a commit that was begun up to the other one.
    Begun(usize, usize),
    /// Without any commit, with rows of a commit that was begun up to this epoch.
    OnlyBegun(usize),
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// Goes on from this checkpoint, or from the log's beginning; nothing is replaced.
    Resumes(Option<usize>),
    /// Replaces all rows, from this checkpoint, or from the log's beginning.
    Refills(Option<usize>),
    /// An error that says so.
    Refused(&'static str),
}

use LogIs::{CountedOnFrom, From, Lost, LostAndCountedOn, Other, Whole};
use Outcome::{Refills, Refused, Resumes};
use StoreIs::{At, Begun, Empty, OnlyBegun};

type Row = (LogIs, StoreIs, &'static [usize], Outcome);

const TABLE: &[Row] = &[
    // The store is empty.
    (Whole, Empty, &[], Resumes(None)),
    (Whole, Empty, &[20, 40], Resumes(Some(40))),
    (LostAndCountedOn, Empty, &[20, 40], Resumes(Some(20))),
    (
        From(20),
        Empty,
        &[],
        Refused("no checkpoint covers the part before it"),
    ),
    // The store matches the log.
    (Whole, At(45), &[20, 40], Resumes(Some(40))),
    (Whole, At(25), &[], Resumes(None)),
    (Whole, At(25), &[20], Resumes(Some(20))),
    (Whole, Begun(42, 47), &[20, 40], Resumes(Some(40))),
    (LostAndCountedOn, At(25), &[], Resumes(None)),
    (LostAndCountedOn, At(25), &[20, 40], Resumes(Some(20))),
    (
        From(20),
        At(45),
        &[],
        Refused("no checkpoint covers the part before it"),
    ),
    (From(40), At(45), &[20], Refused("it needs the log from")),
    // An older backup of the store was put back: it is before the newest checkpoint, or before the log.
    (Whole, At(25), &[20, 40], Refills(Some(40))),
    (Whole, At(10), &[20], Refills(Some(20))),
    (From(40), At(25), &[20, 40], Refills(Some(40))),
    (From(20), At(10), &[20, 40], Refills(Some(40))),
    (
        From(20),
        At(10),
        &[],
        Refused("no checkpoint covers the part before it"),
    ),
    // The log lost its tail: the store is ahead of it.
    (Lost, At(45), &[], Refills(None)),
    (Lost, At(45), &[20], Refills(Some(20))),
    (Lost, At(45), &[20, 40], Refills(Some(20))),
    (Lost, At(45), &[40], Refills(None)),
    (LostAndCountedOn, At(45), &[], Refills(None)),
    (LostAndCountedOn, At(45), &[20, 40], Refills(Some(20))),
    (LostAndCountedOn, At(40), &[40], Refills(None)),
    (CountedOnFrom(20), At(45), &[20, 40], Refills(Some(20))),
    (
        CountedOnFrom(20),
        At(45),
        &[40],
        Refused("no checkpoint covers the part before it"),
    ),
    (
        CountedOnFrom(20),
        At(45),
        &[],
        Refused("no checkpoint covers the part before it"),
    ),
    // What was begun was lost, what was committed was not.
    (LostAndCountedOn, Begun(25, 45), &[20], Refills(Some(20))),
    (LostAndCountedOn, Begun(25, 45), &[], Refills(None)),
    (Lost, Begun(25, 45), &[20], Refills(Some(20))),
    (LostAndCountedOn, Begun(22, 28), &[20], Resumes(Some(20))),
    // Nothing was ever committed, or a replacement was left in the middle.
    (Whole, OnlyBegun(30), &[], Refills(None)),
    (Whole, OnlyBegun(45), &[20, 40], Refills(Some(40))),
    (LostAndCountedOn, OnlyBegun(45), &[20], Refills(Some(20))),
    // The store was computed from another log.
    (
        Other,
        At(45),
        &[],
        Refused("from another log (at epoch 45)"),
    ),
    (
        Other,
        At(45),
        &[20, 40],
        Refused("checkpoint 40: it was made from another log"),
    ),
    (Other, Empty, &[20, 40], Resumes(None)),
];

fn case() -> Case {
    Case::of(1).with(2, 60)
}

/// History B: half of what came after `KEPT` came in another way.
pub fn counted_on(messages: &[Message]) -> Vec<Message> {
    let mut history = between(messages, 0, KEPT).to_vec();
    let mut place = 0;
    for message in between(messages, KEPT, END) {
        place += 1;
        match message {
            Message::Event(_) if place % 2 == 0 => {}
            Message::Event(event) => history.push(Message::Event(event.clone())),
            Message::Tick(tick) => {
                let mut tick = tick.clone();
                tick.frames += 1;
                history.push(Message::Tick(tick));
            }
        }
    }
    history
}

/// The messages of a log, and the epoch from whose tick on it has them.
fn log_of(log: LogIs, messages: &[Message]) -> (Vec<Message>, Option<usize>) {
    match log {
        Whole | Other => (between(messages, 0, END).to_vec(), None),
        Lost => (between(messages, 0, KEPT).to_vec(), None),
        LostAndCountedOn => (counted_on(messages), None),
        From(epoch) => (between(messages, 0, END).to_vec(), Some(epoch)),
        CountedOnFrom(epoch) => (counted_on(messages), Some(epoch)),
    }
}

/// Checkpoints of these epochs of history A.
async fn checkpoints(epochs: &[usize], messages: &[Message]) -> MemoryCheckpoints {
    // How batches fall decides where a checkpoint begins.
    loop {
        let lives = Lives::new(case(), 60);
        let mut begin = 0;
        for &end in epochs {
            lives.checkpoint_at(messages, (begin, end), case()).await;
            begin = end;
        }
        let mut made: Vec<_> = lives.manifests().await;
        made.reverse();
        let made = made.iter().map(|it| it.first.epoch.0 as usize);
        if made.eq(epochs.iter().copied()) {
            return lives.checkpoints;
        }
    }
}

/// The tick of an epoch of history A.
fn tick_of(messages: &[Message], epoch: usize) -> TickRef {
    let through = between(messages, 0, epoch);
    let Some(Message::Tick(tick)) = through.last() else {
        panic!("an epoch has a tick");
    };
    TickRef {
        log_seq: Seq(through.len() as u64),
        tick_hash: skytide_core::port::checkpoint::tick_hash(tick),
    }
}

async fn store_of(store: StoreIs, torn: bool, messages: &[Message]) -> Arc<Recorder> {
    let new = match torn {
        true => Recorder::torn(),
        false => Recorder::default(),
    };
    let ground = Ground {
        store: Arc::new(new),
        ..Ground::new()
    };
    let (committed, begun) = match store {
        Empty => (None, None),
        At(epoch) => (Some(epoch), None),
        Begun(epoch, intent) => (Some(epoch), Some(intent)),
        OnlyBegun(intent) => (None, Some(intent)),
    };
    if let Some(epoch) = committed {
        ground.append(between(messages, 0, epoch)).await;
        let lived = case().run_on(&ground, case().dataflow()).await;
        lived.expect("history A is whole");
        ground.store.take();
    }
    if let Some(epoch) = begun {
        leave_a_commit(&ground.store, messages, epoch).await;
    }
    ground.store
}

/// Writes all rows as of an epoch into a commit that is never completed.
async fn leave_a_commit(store: &Recorder, messages: &[Message], epoch: usize) {
    let whole = Ground::new();
    whole.append(between(messages, 0, epoch)).await;
    let lived = case().run_on(&whole, case().dataflow()).await;
    lived.expect("history A is whole");
    let term = store.lead().await.expect("memory answers").term;
    let intent = Intent {
        tick: Some(tick_of(messages, epoch)),
        ..Epoch(epoch as u64).into()
    };
    store.begin(term, intent).await.expect("it begins");
    for (view, rows) in whole.store.rows_of_all() {
        let rows = rows
            .into_iter()
            .map(|(key, row)| skytide_core::view::Change {
                key,
                row: Some(row),
            });
        store
            .write(term, view, rows.collect())
            .await
            .expect("it writes");
    }
}

/// What happened, and the checkpoints that are left.
async fn outcome(
    (log, store, epochs): (LogIs, StoreIs, &[usize]),
    torn: bool,
    messages: &[Message],
) -> (Outcome, String) {
    let (held, from) = log_of(log, messages);
    let made = checkpoints(epochs, messages).await;
    let ground = Ground {
        log: MemoryLog::new(if log == Other { 8 } else { 7 }),
        store: store_of(store, torn, messages).await,
        checkpoints: Some(Arc::new(made.clone())),
    };
    ground.append(&held).await;
    if let Some(epoch) = from {
        let below = Seq(between(&held, 0, epoch).len() as u64);
        ground.log.trim(below).await.expect("memory trims");
    }
    let mut options = case().dataflow();
    options.checkpoint.interval = None;
    let before = ground.store.control().await.expect("memory answers");
    let lived = case().run_on(&ground, options).await;
    let left = made.list().await.expect("memory answers").len();
    assert_eq!(left, epochs.len(), "a start removes no checkpoint");
    let commits = ground.store.take();
    match lived {
        Err(error) => {
            assert!(commits.is_empty(), "something was committed: {error}");
            let after = ground.store.control().await.expect("memory answers");
            assert_eq!(after.committed, before.committed, "{error}");
            (Refused(""), error.to_string())
        }
        Ok(metrics) => {
            let expected = recount(&held, case().options);
            case().compare(&expected, &commits);
            // Of a checkpoint that was used, the log after its first cut was read.
            let restored = metrics.restore_seconds.get() > 0.0;
            let used = metrics.events.get();
            let events = |behind: usize| {
                let after = between(&held, behind, END.min(expected.len()));
                after
                    .iter()
                    .filter(|it| matches!(it, Message::Event(_)))
                    .count() as u64
            };
            // Repeated events are in the log and are not counted: then the nearest count decides.
            let candidates = || epochs.iter().copied().filter(|_| restored);
            let from = candidates()
                .find(|epoch| events(*epoch) == used)
                .or_else(|| candidates().filter(|epoch| events(*epoch) >= used).max());
            assert_eq!(
                from.is_some(),
                restored,
                "{used} events after no checkpoint"
            );
            let done = match ground.store.replacing() {
                0 => Resumes(from),
                _ => Refills(from),
            };
            (done, String::new())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_of_the_table_of_recovery_is_what_a_start_does() {
    let messages = case().world();
    for &(log, store, epochs, expected) in TABLE {
        for torn in [false, true] {
            // A store whose commits are one transaction has forgotten what was begun.
            let forgotten = !torn && matches!(store, Begun(..) | OnlyBegun(_));
            if forgotten {
                continue;
            }
            eprintln!("{log:?}, {store:?}, {epochs:?}, torn: {torn}");
            let (done, error) = outcome((log, store, epochs), torn, &messages).await;
            match expected {
                Refused(words) => {
                    assert_eq!(done, Refused(""), "{log:?}, {store:?}, {epochs:?}");
                    assert!(error.contains(words), "{log:?}, {store:?}: {error}");
                    let rebuild = error.find("--indexer-rebuild").expect("the last resort");
                    let first = error.find("nothing is lost").expect("the first");
                    assert!(
                        first < rebuild,
                        "the least destructive is not first: {error}"
                    );
                }
                _ => assert_eq!(done, expected, "{log:?}, {store:?}, {epochs:?}: {error}"),
            }
        }
    }
}

/// Whatever the store has of another history, and however high its epochs are, starting over is possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_may_start_over_although_the_store_is_ahead_of_the_log() {
    let messages = case().world();
    for torn in [false, true] {
        let ground = Ground {
            log: MemoryLog::new(8),
            store: store_of(At(45), torn, &messages).await,
            checkpoints: None,
        };
        ground.append(between(&messages, 0, KEPT)).await;
        let refused = case().run_on(&ground, case().dataflow()).await.err();
        assert!(
            matches!(refused, Some(DataflowError::OtherLog { .. })),
            "{refused:?}"
        );
        let mut options = case().dataflow();
        options.rebuild = true;
        let lived = case().run_on(&ground, options).await;
        lived.expect("it starts over");
        let expected = recount(between(&messages, 0, KEPT), case().options);
        case().compare(&expected, &ground.store.take());
    }
}

/// Replacing everything is interrupted at its first and at a later write: the next start does it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refill_that_is_left_in_the_middle_is_made_by_the_next_start() {
    let messages = case().world();
    let history = counted_on(&messages);
    for writes in [1, 9, 26] {
        let ground = Ground {
            store: store_of(At(45), true, &messages).await,
            checkpoints: Some(Arc::new(checkpoints(&[20], &messages).await)),
            ..Ground::new()
        };
        ground.append(&history).await;
        let mut options = case().dataflow();
        options.checkpoint.interval = None;
        super::interrupted::crash(&ground, options.clone(), writes).await;
        let control = ground.store.control().await.expect("memory answers");
        assert_eq!(control.committed, None, "{writes}");
        assert!(control.intent.is_some(), "{writes}");
        case().run_on(&ground, options).await.expect("it goes on");
        case().compare(&recount(&history, case().options), &ground.store.take());
    }
}

/// A checkpoint that the log has lost is there until one that matches the log is complete, also under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_of_a_lost_tail_go_when_a_new_one_is_complete() {
    let messages = case().world();
    let history = counted_on(&messages);
    let made = checkpoints(&[20, 40], &messages).await;
    let ground = Ground {
        store: store_of(At(45), false, &messages).await,
        checkpoints: Some(Arc::new(made.clone())),
        ..Ground::new()
    };
    ground.append(&history).await;
    let mut options = case().dataflow();
    options.batch_epochs_max = 1;
    options.checkpoint.events = Some(0);
    options.checkpoint.shards_per_cut = Some(64);
    options.checkpoint.keep = 1;
    case()
        .run_on(&ground, options.clone())
        .await
        .expect("it goes on");
    let listed = made.list().await.expect("memory answers");
    let manifests = listed.into_iter().map(|it| it.manifest.expect("whole"));
    let lost = checkpoints(&[20, 40], &messages).await.list().await;
    let lost = lost.expect("memory answers")[0]
        .manifest
        .clone()
        .expect("whole");
    for manifest in manifests {
        assert_ne!(
            manifest.last, lost.last,
            "the one that the log lost is still there"
        );
    }
}
