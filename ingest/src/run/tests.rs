//! What a session leaves when the log fails.

use async_trait::async_trait;
use bytes::Bytes;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::{Bounds, LogReader};
use skytide_core::port::size::SizeReporter as _;

use super::*;
use crate::frame::Verify;
use crate::source::{Input, Raw};

/// A recording of one message.
struct OneMessage {
    host: Host,
    is_read: bool,
}

#[async_trait]
impl Source for OneMessage {
    fn host(&self) -> &Host {
        &self.host
    }

    fn live(&self) -> bool {
        false
    }

    fn seek(&mut self, _position: Position, _lookback: u64) {}

    async fn next(&mut self) -> Result<Input, SourceError> {
        Ok(match std::mem::replace(&mut self.is_read, true) {
            false => Input::Batch(vec![Raw::Text(Bytes::from_static(b"text"))]),
            true => Input::End,
        })
    }
}

/// A log that accepts nothing. The first failure stops ingest.
struct FailingLog(MemoryLog, CancellationToken);

#[async_trait]
impl Log for FailingLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.0.bounds().await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.0.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Ok(Box::new(FailingWriter(self.1.clone())))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        self.0.reader(from).await
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.0.trim(below).await
    }
}

struct FailingWriter(CancellationToken);

#[async_trait]
impl LogWriter for FailingWriter {
    async fn append(&mut self, _messages: Vec<Message>) -> Result<(), LogError> {
        self.0.cancel();
        Err(LogError::Failed {
            operation: "append",
            source: "planned".into(),
        })
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        unreachable!("nothing is appended")
    }
}

struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

#[tokio::test]
async fn queues_that_a_failed_log_left_are_empty_while_ingest_pauses() {
    let stop = CancellationToken::new();
    let metrics = Metrics::default();
    let context = Context {
        log: Arc::new(FailingLog(MemoryLog::new(1), stop.clone())),
        clock: Arc::new(NoClock),
        metrics: metrics.clone(),
        progress: Arc::new(|_| {}),
        status: Status::default(),
        stop,
    };
    let options = Options {
        collections: Vec::new(),
        dids_allow: None,
        dids_deny: None,
        verify: Verify::Records,
        tick_interval: Duration::from_millis(5),
        tick_events_max: 5_000,
        samples: None,
        stop_grace: Duration::from_secs(60),
        cursor_reset: false,
    };
    let source = OneMessage {
        host: "recording:test".into(),
        is_read: false,
    };
    let ended = run(options, vec![Box::new(source)], context).await;
    assert!(ended.is_ok(), "{ended:?}");
    for size in metrics.sizes() {
        assert_eq!((size.entries, size.bytes), (0, 0), "{}", size.name);
    }
}
