//! Tests of the health of services, with a log and a store that fail.

use super::*;
use async_trait::async_trait;
use prometheus_client::encoding::text::encode;
use skytide_core::event::Tick;
use skytide_core::id::Seq;
use skytide_core::memory::{MemoryLog, MemoryStore};
use skytide_core::port::clock::ManualClock;
use skytide_core::port::log::{Bounds, LogReader, LogWriter};
use skytide_core::port::store::{Committed, Intent};

#[tokio::test]
async fn a_log_is_healthy_after_its_first_answer() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let health = ServiceHealth::new(Arc::new(ManualClock::default())).with_log(log, || None);
    assert!(!health.parts()[0].ok);
    health.check_log().await;
    let part = &health.parts()[0];
    assert!(part.ok, "{part:?}");
}

/// A log whose server is gone.
struct FailingLog;

#[async_trait]
impl Log for FailingLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        let source = "nats.example:4222 timed out".into();
        let operation = "read the state of the stream";
        Err(LogError::Failed { operation, source })
    }
    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        Ok(None)
    }
    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Err(LogError::Held)
    }
    async fn reader(&self, _: Seq) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Held)
    }
    async fn trim(&self, _: Seq) -> Result<(), LogError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_that_does_not_answer_reports_its_known_problem() {
    let registry = Mutex::new(Registry::default());
    let health = ServiceHealth::new(Arc::new(ManualClock::default()))
        .with_metric(&registry)
        .with_log(Arc::new(FailingLog), || Some("no connection"));
    assert_eq!(health.waits_for().word, WaitWord::Recovery);
    health.check().await;
    let Part { ok, detail, .. } = &health.parts()[0];
    let public = "no connection: the log returned an error";
    assert!(!ok && detail.public() == public, "{detail:?}");
    assert!(detail.in_full().ends_with("nats.example:4222 timed out"));
    let wait = health.waits_for();
    assert_eq!((wait.word, wait.sentence.public()), (WaitWord::Log, public));
    let mut exposed = String::new();
    encode(&mut exposed, &lock(&registry)).expect("a String accepts all text");
    for &word in WaitWord::ALL {
        let value = u8::from(word == WaitWord::Log);
        let line = format!("skytide_waits_for{{word=\"{}\"}} {value}\n", word.as_str());
        assert!(exposed.contains(&line), "{line}: {exposed}");
    }
}

#[test]
fn a_relay_that_cannot_be_read_needs_help_and_reports_the_reason() {
    let status = Status::default();
    let clock = Arc::new(ManualClock::default());
    let health = ServiceHealth::new(clock).with_relay(Duration::from_secs(60), status.clone());
    assert!(!health.needs_help());
    status.stuck(Some("a message is too large".to_owned()));
    assert!(health.needs_help());
    let Part { ok, detail, .. } = &health.parts()[0];
    assert!(
        !ok && detail.public().contains("is too large"),
        "{detail:?}"
    );
}

#[tokio::test]
async fn a_process_with_the_store_alone_reports_that_commits_stopped() {
    let store = Arc::new(MemoryStore::default());
    let clock = Arc::new(ManualClock::default());
    let health = ServiceHealth::new(clock.clone()).with_store(store.clone());
    let term = store.lead().await.expect("a writer").term;
    let mut words = Vec::new();
    for (second, epoch) in [(0, 1), (20, 2), (49, 2), (50, 2), (60, 3)] {
        clock.set(Timestamp(second * 1_000));
        let committed = Committed {
            epoch: Epoch(epoch),
            ..Committed::default()
        };
        if store
            .begin(term, Intent::from(committed.epoch))
            .await
            .is_ok()
        {
            store.commit(term, committed).await.expect("a commit");
        }
        health.check().await;
        words.push(health.waits_for().word);
    }
    let (none, indexer) = (WaitWord::Nothing, WaitWord::Indexer);
    assert_eq!(words, [none, none, none, indexer, none]);
}

#[tokio::test]
async fn a_silent_relay_is_what_the_pipeline_waits_for() {
    let clock = Arc::new(ManualClock::default());
    let health =
        ServiceHealth::new(clock.clone()).with_relay(Duration::from_secs(60), Status::default());
    health.check().await;
    assert_eq!(health.waits_for().word, WaitWord::Relay);
    let progress = Progress {
        position: skytide_ingest::assemble::Position::default(),
        epoch: Epoch(1),
        time: Timestamp(0),
        frames: 1,
        frame_bytes: 1,
        events: 1,
        source_bytes: None,
        source_bytes_read: 0,
    };
    health.on_progress(&progress);
    health.check().await;
    assert_eq!(health.waits_for().word, WaitWord::Nothing);
    clock.set(Timestamp(83_000));
    health.check().await;
    let wait = health.waits_for();
    let expected = "no frame has arrived from the relay for 83 s";
    assert_eq!(
        (wait.word, wait.sentence.public()),
        (WaitWord::Relay, expected)
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_answer_is_reported_after_the_time_limit() {
    let never = std::future::pending::<Result<(), LogError>>();
    let answered = answer(never, "the log", |why| Explanation::because("", &why)).await;
    let why = answered.expect_err("no answer");
    assert_eq!(why.public(), "the log did not answer within 3 s");
}
