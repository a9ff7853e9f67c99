//! Compares log and views with what the network sent.

use std::collections::BTreeMap;

use skytide_core::config;
use skytide_core::event::{Event, Message};
use skytide_core::port::log::Log;
use skytide_core::port::store::{Control, ViewReader};
use skytide_mongodb::MongoStore;
use skytide_nats::NatsLog;
use skytide_simnet::{Frame, Ledger};
use skytide_tests::checkers::{difference, unlike_ledger, wrong_sum};
use skytide_tests::model::{Model, Options, Policy, Rows};
use skytide_tests::reading::{messages_of, rows_of};
use tokio::runtime::Runtime;

/// Compares all events and rows.
#[track_caller]
pub fn compare(frames: &[Frame], nats: &str, mongo: &str) {
    let runtime = Runtime::new().expect("a runtime");
    let messages = runtime.block_on(log(nats));
    let (control, rows) = runtime.block_on(views(mongo));
    same_events(frames, &messages);
    assert_eq!(control.intent, None, "an incomplete commit is left");
    let committed = control.committed.expect("a commit");
    assert_eq!(wrong_sum(&committed.sums, &rows), None);

    let mut recount = Model::new(Options {
        policy: Policy::ActiveAccountsOnly,
        interactions_days: Some(8),
    });
    let end = Some(committed.epoch);
    let is_there = messages.iter().any(|it| recount.read(it) == end);
    assert!(is_there, "the log lacks epoch {}", committed.epoch);
    assert_eq!(difference(&recount.rows(), &rows), None);
    let mut ledger = Ledger::default();
    frames.iter().for_each(|frame| ledger.add(frame));
    assert_eq!(unlike_ledger(&rows, &ledger.totals()), None);
}

/// The log has each event of the network once, except that an interrupted writer may have written
/// some again.
#[track_caller]
fn same_events(frames: &[Frame], messages: &[Message]) {
    let sent = frames.iter().flat_map(|frame| &frame.events);
    let mut logged: BTreeMap<(u64, u32), &Event> = BTreeMap::new();
    let events = messages.iter().filter_map(|message| match message {
        Message::Event(event) => Some(event),
        Message::Tick(_) => None,
    });
    for event in events {
        logged.insert((event.seq.0, event.index), event);
    }
    let mut expected = 0;
    for event in sent {
        expected += 1;
        let logged = logged.get(&(event.seq.0, event.index));
        // Here the relay's name is its address.
        let logged = logged.map(|logged| Event {
            host: event.host.clone(),
            ..(*logged).clone()
        });
        assert_eq!(logged.as_ref(), Some(event));
    }
    assert_eq!(logged.len(), expected);
}

async fn log(url: &str) -> Vec<Message> {
    let config = config::Nats::at(url).expect("an address");
    let log = NatsLog::connect(&config).await.expect("a log");
    let log: &dyn Log = &log;
    messages_of(log).await.expect("messages")
}

async fn views(uri: &str) -> (Control, Rows) {
    let config = config::Mongo::at(uri).expect("an address");
    let store = MongoStore::connect(&config).await.expect("a store");
    let control = store.control().await.expect("a control record");
    (control, rows_of(&store).await.expect("rows"))
}
