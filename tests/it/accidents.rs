//! Accidents of real servers: a NATS server that lost acknowledged messages, an older copy of a MongoDB database.
//!
//! `restart/accidents.rs` tests the rows of the table in `dataflow/src/runtime/recover.rs` in
//! memory. This file tests what memory does not have: claims of writers in the log, guards and
//! epochs of rows in the database.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use skytide_core::config::{Mongo, Nats, Span};
use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::checkpoint::CheckpointStore as _;
use skytide_core::port::log::{Log as _, LogWriter};
use skytide_core::port::store::{Order, ViewReader as _};
use skytide_core::view::ViewId;
use skytide_dataflow::{LogKeep, Metrics, Options, Ports};
use skytide_mongodb::MongoStore;
use skytide_nats::NatsLog;
use skytide_tests::checkers::difference;
use skytide_tests::contract_log::write;
use skytide_tests::contract_store::rows;
use skytide_tests::model::{Policy, Rows, recount};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::mongo::{Own, own_database};
use crate::nats::{own_stream, raw};
use crate::recount::harness::Case;
use crate::recount::logs::between;
use crate::restart::accidents::{END, KEPT, counted_on};

fn case() -> Case {
    let mut case = Case::of(1).with(2, 60);
    case.options.policy = Policy::ActiveAccountsOnly;
    case.options.interactions_days = None;
    case
}

/// A stream, a database and checkpoints.
struct Place {
    nats: Nats,
    mongo: Mongo,
    own: Own,
    checkpoints: MemoryCheckpoints,
}

/// A run of the dataflow.
struct Life {
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), skytide_dataflow::DataflowError>>,
    store: MongoStore,
}

impl Place {
    fn new() -> Option<Self> {
        let nats = own_stream()?;
        let (mut mongo, own) = own_database()?;
        // A writer that replaces everything waits for twice as long from its take-over.
        mongo.operation_max = Span(Duration::from_secs(5));
        Some(Self {
            nats,
            mongo,
            own,
            checkpoints: MemoryCheckpoints::new(),
        })
    }

    async fn log(&self) -> NatsLog {
        NatsLog::connect(&self.nats).await.expect("a server")
    }

    async fn life(&self) -> Life {
        let store = MongoStore::connect(&self.mongo).await.expect("a server");
        let ports = Ports {
            log: Arc::new(self.log().await),
            store: Arc::new(store.clone()),
            checkpoints: Some(Arc::new(self.checkpoints.clone())),
        };
        let mut options: Options = case().dataflow();
        options.checkpoint.interval = None;
        options.checkpoint.events = Some(0);
        options.checkpoint.shards_per_cut = Some(64);
        options.checkpoint.log_keep = LogKeep::All;
        let (metrics, stop) = (Arc::new(Metrics::default()), CancellationToken::new());
        let life = skytide_dataflow::run(options, ports, metrics.clone(), stop.clone());
        Life {
            metrics,
            stop,
            task: tokio::spawn(life),
            store,
        }
    }

    /// The first messages of the stream are all that is left of it; its identity is the same.
    async fn lose_all_after(&self, message: &Message) {
        let stream = raw(&self.nats).await;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (mut kept, mut position) = (Vec::new(), 0);
        while kept
            .last()
            .is_none_or(|it: &jetstream::message::StreamMessage| it.payload != bytes)
        {
            position += 1;
            kept.push(stream.get_raw_message(position).await.expect("it is there"));
        }
        let client = async_nats::connect(self.nats.url[0].with_secret()).await;
        let jetstream = jetstream::new(client.expect("a server"));
        let same = stream.cached_info().config.clone();
        jetstream.delete_stream(&same.name).await.expect("deleted");
        jetstream.create_stream(same).await.expect("made");
        for message in kept {
            let sent = jetstream.publish(message.subject, message.payload).await;
            sent.expect("sent").await.expect("stored");
        }
    }
}

impl Life {
    /// Runs until this epoch is committed.
    async fn until(&mut self, epoch: usize) {
        let metrics = self.metrics.clone();
        self.goes_on(|| metrics.epoch.get() as usize >= epoch).await;
    }

    async fn until_checkpoint(&mut self) {
        let metrics = self.metrics.clone();
        self.goes_on(|| metrics.checkpoints.get() > 0).await;
    }

    async fn goes_on(&mut self, enough: impl Fn() -> bool) {
        while !enough() {
            if self.task.is_finished() {
                panic!("it ended: {:?}", (&mut self.task).await);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = self.task.await.expect("no panic");
        ended.expect("it ends in order");
        self.store.close().await.expect("the lease is given back");
    }

    /// Each view must be that of a recount of this history.
    async fn compare(&self, history: &[Message]) {
        let expected = recount(history, case().options);
        let (epoch, expected) = expected.last().expect("an epoch");
        let control = self.store.control().await.expect("read");
        assert_eq!(control.committed.map(|it| it.epoch), Some(*epoch));
        let mut found = Rows::new();
        for &view in ViewId::ALL {
            let all = rows(&self.store, view, Order::First).await;
            let all = all.into_iter().map(|(key, _, row)| (key, row.into()));
            found.insert(view, all.collect());
        }
        assert_eq!(difference(expected, &found), None);
    }
}

async fn append(writer: &mut dyn LogWriter, messages: &[Message]) {
    write(writer, messages.to_vec()).await;
}

/// `ingest` is there first and has claimed the log, then `index`, then the relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_nats_server_lost_messages_all_rows_are_those_of_the_log_again() {
    let Some(place) = Place::new() else { return };
    let messages = case().world();
    let mut writer = place
        .log()
        .await
        .writer()
        .await
        .expect("the right to write");
    append(&mut *writer, between(&messages, 0, 20)).await;
    let mut life = place.life().await;
    life.until(20).await;
    life.until_checkpoint().await;
    append(&mut *writer, between(&messages, 20, END)).await;
    life.until(END).await;
    life.compare(between(&messages, 0, END)).await;
    life.end().await;
    drop(writer);

    let kept = between(&messages, 0, KEPT);
    place.lose_all_after(kept.last().expect("a tick")).await;
    let log = place.log().await;
    let mut writer = log.writer().await.expect("the right to write");
    let mut life = place.life().await;
    life.until(KEPT).await;
    life.compare(kept).await;
    let history = counted_on(&messages);
    append(&mut *writer, between(&history, KEPT, END)).await;
    life.until(END).await;
    life.compare(&history).await;
    life.end().await;
}

/// The other way round: the log counted on before `index` looked, and a commit was begun up to an epoch that is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_counted_on_replaces_rows_of_later_epochs() {
    let Some(place) = Place::new() else { return };
    let messages = case().world();
    let mut writer = place
        .log()
        .await
        .writer()
        .await
        .expect("the right to write");
    append(&mut *writer, between(&messages, 0, 20)).await;
    let mut life = place.life().await;
    life.until(20).await;
    life.until_checkpoint().await;
    append(&mut *writer, between(&messages, 20, END)).await;
    life.until(END).await;
    life.end().await;
    drop(writer);

    let kept = between(&messages, 0, KEPT);
    place.lose_all_after(kept.last().expect("a tick")).await;
    let history = counted_on(&messages);
    let mut writer = place
        .log()
        .await
        .writer()
        .await
        .expect("the right to write");
    append(&mut *writer, between(&history, KEPT, END - 5)).await;
    let mut life = place.life().await;
    life.until(END - 5).await;
    life.compare(between(&history, 0, END - 5)).await;
    append(&mut *writer, between(&history, END - 5, END)).await;
    life.until(END).await;
    life.compare(&history).await;
    life.end().await;
    let kept = place.checkpoints.list().await.expect("memory answers");
    assert!(kept.iter().all(|it| it.checkpoint <= Epoch(END as u64)));
}

/// `mongodump` some hours ago, `mongorestore` now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_database_is_brought_up_to_date_and_no_checkpoint_is_lost() {
    let Some(place) = Place::new() else { return };
    let messages = case().world();
    let mut writer = place
        .log()
        .await
        .writer()
        .await
        .expect("the right to write");
    append(&mut *writer, between(&messages, 0, 20)).await;
    let mut life = place.life().await;
    life.until(20).await;
    life.end().await;
    let database = place.own.database().await;
    let mut copy = Vec::new();
    for name in database.list_collection_names().await.expect("names") {
        let documents = database.collection::<Document>(&name).find(doc! {}).await;
        let documents: Vec<Document> = documents.expect("read").try_collect().await.expect("read");
        copy.push((name, documents));
    }

    append(&mut *writer, between(&messages, 20, KEPT)).await;
    let mut life = place.life().await;
    life.until(KEPT).await;
    life.until_checkpoint().await;
    life.end().await;
    let before = place
        .checkpoints
        .list()
        .await
        .expect("memory answers")
        .len();

    for (name, documents) in copy {
        let collection = database.collection::<Document>(&name);
        collection.delete_many(doc! {}).await.expect("emptied");
        if !documents.is_empty() {
            collection.insert_many(documents).await.expect("put back");
        }
    }
    append(&mut *writer, between(&messages, KEPT, END)).await;
    let mut life = place.life().await;
    life.until(END).await;
    life.compare(between(&messages, 0, END)).await;
    life.end().await;
    let after = place
        .checkpoints
        .list()
        .await
        .expect("memory answers")
        .len();
    assert!(after >= before.min(2), "{before} checkpoints, then {after}");
}
