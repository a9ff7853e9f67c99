//! Skytide's version: its dataflow, with the views that contain the six views.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use skytide_core::event::{Body, Message, Tick};
use skytide_core::id::{Collection, Seq};
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use skytide_core::port::store::{
    Committed, Control, Intent, Range as KeyRange, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};
use skytide_dataflow::{AccountPolicy, Metrics, Options, Ports};
use skytide_tests::model::Rows;
use skytide_tests::textbook::{VIEWS, of_skytide};
use tokio_util::sync::CancellationToken;

use super::digest::Digests;
use super::{Run, Watch};
use crate::restart::Rowless;

/// The options: only the views that are compared, a commit for each batch.
fn options(workers: usize) -> Options {
    Options {
        workers,
        views: VIEWS.to_vec(),
        account_policy: AccountPolicy::OpsOnly,
        interactions_days: None,
        batch_events_max: usize::MAX,
        batch_bytes_max: usize::MAX,
        batch_epochs_max: 1,
        operator_log: false,
        ..Options::default()
    }
}

/// Runs the dataflow over the messages.
pub fn run(messages: Vec<Message>, workers: usize, verify: bool) -> Run {
    let events = messages.iter().filter(|it| matches!(it, Message::Event(_)));
    let (events, collections) = (events.count(), collections(&messages));
    let log = Decoded::new(messages);
    let epochs = log.last_tick().epoch.0;
    let store = Arc::new(Kept::new(verify));
    let ports = Ports {
        log: Arc::new(log),
        store: store.clone(),
        checkpoints: None,
    };
    let metrics = Metrics::register(&mut Registry::default(), workers);
    let threads = tokio::runtime::Runtime::new().expect("the runtime starts");
    let stop = CancellationToken::new();
    let watch = Watch::start();
    let dataflow = skytide_dataflow::run(options(workers), ports, metrics.clone(), stop.clone());
    let dataflow = threads.spawn(dataflow);
    threads.block_on(async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while metrics.epoch.get() < epochs as i64 {
            assert!(!dataflow.is_finished(), "the dataflow ended early");
            look.tick().await;
        }
    });
    let digest = store.digest(&collections);
    let run = watch.stop(events, metrics.rows.get(), digest);
    stop.cancel();
    let ended = threads.block_on(dataflow).expect("no panic");
    ended.expect("the dataflow ends");
    run
}

/// All collections of a log.
fn collections(messages: &[Message]) -> Vec<Collection> {
    let ops = messages.iter().filter_map(|message| match message {
        Message::Event(event) => match &event.body {
            Body::Op(op) => Some(&op.collection),
            _ => None,
        },
        Message::Tick(_) => None,
    });
    ops.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// A log of decoded messages, each of which is read once. A copy of each would cost what the other
/// versions do not pay.
#[derive(Clone, Debug)]
struct Decoded {
    messages: Arc<Mutex<Vec<Option<Message>>>>,
    length: usize,
    last_tick: Tick,
}

impl Decoded {
    fn new(messages: Vec<Message>) -> Self {
        let Some(Message::Tick(tick)) = messages.last() else {
            panic!("the log does not end with a tick");
        };
        Self {
            length: messages.len(),
            last_tick: tick.clone(),
            messages: Arc::new(Mutex::new(messages.into_iter().map(Some).collect())),
        }
    }

    fn last_tick(&self) -> Tick {
        self.last_tick.clone()
    }

    fn take(&self, range: Range<usize>) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = messages[range].iter_mut().map(Option::take);
        taken.map(|it| it.expect("is read once")).collect()
    }
}

#[async_trait]
impl Log for Decoded {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        Ok(Bounds {
            id: 1,
            first: Seq(1),
            next: Seq(self.length as u64 + 1),
            bytes: 0,
            bytes_max: u64::MAX,
        })
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        Ok(Some((Seq(self.length as u64), self.last_tick())))
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Err(LogError::Held)
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(Reader {
            log: self.clone(),
            next: from.0,
        }))
    }

    async fn trim(&self, _below: Seq) -> Result<(), LogError> {
        Ok(())
    }
}

struct Reader {
    log: Decoded,
    next: u64,
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let first = self.next as usize - 1;
        let end = self.log.length.min(first + messages_max.max(1));
        if end == first {
            std::future::pending::<()>().await;
        }
        let seqs = (self.next..).map(Seq);
        self.next += (end - first) as u64;
        let messages = self.log.take(first..end);
        Ok(seqs.zip(messages).collect())
    }
}

/// A store that drops all rows, or keeps them in memory for the comparison.
struct Kept {
    control: Rowless,
    rows: Option<Mutex<Rows>>,
}

impl Kept {
    fn new(keeps: bool) -> Self {
        Self {
            control: Rowless::default(),
            rows: keeps.then(Mutex::default),
        }
    }

    /// The digests of all rows; empty if they were dropped.
    fn digest(&self, collections: &[Collection]) -> String {
        let Some(rows) = &self.rows else {
            return String::new();
        };
        let rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut digests = Digests::default();
        for row in of_skytide(&rows, collections) {
            digests.add(&row, 1, collections);
        }
        digests.text()
    }
}

#[async_trait]
impl ViewReader for Kept {
    async fn control(&self) -> Result<Control, StoreError> {
        self.control.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.control.get(view, keys).await
    }

    async fn scan(&self, view: ViewId, range: KeyRange) -> Result<Vec<StoredRow>, StoreError> {
        self.control.scan(view, range).await
    }
}

#[async_trait]
impl ViewStore for Kept {
    async fn lead(&self) -> Result<Control, StoreError> {
        self.control.lead().await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.control.begin(term, intent).await
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        self.control.rebuild(term, views).await
    }

    async fn write(
        &self,
        _term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        if let Some(rows) = &self.rows {
            let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = rows.entry(view).or_default();
            for Change { key, row } in changes {
                match row {
                    Some(row) => rows.insert(key, row),
                    None => rows.remove(&key),
                };
            }
        }
        Ok(())
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        self.control.commit(term, committed).await
    }
}
