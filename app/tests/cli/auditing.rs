//! `skytide audit` beside a running process and on a data folder at rest, and audits at intervals.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skytide_core::port::store::{Intent, Order, Range, ViewReader as _, ViewStore as _};
use skytide_core::view::{Change, Key, PostRow, ViewId, decode_row, encode_row};
use skytide_embedded::{EmbeddedStore, StoreOptions};

use crate::process::{Place, Ran};
use crate::services::{Running, get};

const DATA: &str = "--store-dir=data-demo";

/// A demo whose network lies in the past, so that all of it is due at once. The process makes
/// checkpoints and audits often.
fn demo(place: &Place) -> Command {
    place.command(&[
        "up",
        "--demo",
        "--api-address=127.0.0.1:0",
        "--demo-start=2026-10-01T10:00:00Z",
        "--demo-events-max=20000",
        "--indexer-checkpoint-interval=2s",
        "--indexer-checkpoints-kept=10",
        "--indexer-audit-interval=1s",
        "--indexer-audit-rows=100",
    ])
}

/// The body of an answer, as JSON.
fn body(address: &str, path: &str) -> Value {
    let answer = get(address, path);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// The report of an audit with `--json`.
fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Polls a running process until the answer satisfies the condition.
fn until<T>(running: &mut Running, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        let exited = running.0.try_wait().expect("it was started");
        assert_eq!(exited, None, "the process exited");
        if let Some(found) = ask() {
            return found;
        }
        std::thread::yield_now();
    }
}

#[test]
fn an_audit_beside_a_running_process_finds_nothing_and_the_api_shows_it() {
    let place = Place::new();
    let (mut running, address) = Running::start(demo(&place));
    // The process listens for audits a moment after it prints its address.
    until(&mut running, || {
        place
            .path()
            .join("data-demo/audit.sock")
            .exists()
            .then_some(())
    });
    until(&mut running, || {
        let network = get(&address, "/v1/network");
        network.contains("\"frames\":20000").then_some(())
    });
    for scope in [["--rows", "500"].as_slice(), &["--all"]] {
        let ran = place.run(&[&["audit", "--json", DATA], scope].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report = report(&ran);
        assert_eq!(report["differing"], 0, "{report:#}");
        assert!(report["rows"].as_u64() > Some(400), "{report:#}");
        assert!(report["live_records"].as_u64() > Some(1_000), "{report:#}");
    }
    let shown = body(&address, "/v1/audit");
    let scope = shown["audit"]["scope"].as_str();
    assert!(scope.is_some(), "{shown:#}");
    assert_eq!(shown["hash"].as_str().map(str::len), Some(32), "{shown:#}");

    // Audits at intervals continue.
    let number = |name: &str| {
        let metrics = get(&address, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok())
    };
    let rows = "indexer_audit_rows_total";
    let failures = "indexer_audit_failures_total";
    let (before, failed) = (number(rows).expect("a metric"), number(failures));
    until(&mut running, || {
        assert_eq!(number(failures), failed, "an audit was not possible");
        number(rows).filter(|rows| *rows > before)
    });
    assert_eq!(number("indexer_audit_differences_total"), Some(0.0));

    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(!place.path().join("data-demo/audit.sock").exists());
    let ran = place.run(&["audit", "--all", DATA]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.ends_with("no difference\n"), "{ran:?}");
}

/// Replaces, removes or adds a row of the store, which no process may have open, without another
/// commit.
#[tokio::main(flavor = "current_thread")]
async fn write(folder: &Path, view: ViewId, key: &Key, row: Option<Box<[u8]>>) {
    let store = EmbeddedStore::open(folder, StoreOptions::default()).expect("a store");
    let control = store.lead().await.expect("a writer");
    let committed = control.committed.expect("a commit");
    let intent = Intent {
        epoch: committed.epoch,
        tick: None,
        replaces_all: true,
    };
    store.begin(control.term, intent).await.expect("begun");
    let key = key.clone();
    let change = Change { key, row };
    let written = store.write(control.term, view, vec![change]);
    written.await.expect("written");
    let ended = store.commit(control.term, committed);
    ended.await.expect("committed");
}

/// The first post of the store that has likes.
#[tokio::main(flavor = "current_thread")]
async fn liked_post(folder: &Path) -> (Key, Box<[u8]>) {
    let store = EmbeddedStore::open(folder, StoreOptions::default()).expect("a store");
    let range = Range::prefix(Order::First, &[], 10_000);
    let rows = store.scan(ViewId::Posts, range).await.expect("rows");
    let mut rows = rows.into_iter();
    let liked = rows.find(|row| {
        let post: PostRow = decode_row(&row.row).expect("a post");
        post.likes > 0
    });
    let liked = liked.expect("a post with likes");
    (liked.key, liked.row)
}

#[test]
fn an_audit_names_the_row_that_was_changed_by_hand() {
    let place = Place::new();
    let (mut running, address) = Running::start(demo(&place));
    until(&mut running, || {
        let network = get(&address, "/v1/network");
        network.contains("\"frames\":20000").then_some(())
    });
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");

    let folder = place.path().join("data-demo/store");
    let (key, row) = liked_post(&folder);
    let mut post: PostRow = decode_row(&row).expect("a post");
    post.likes += 1;
    write(&folder, ViewId::Posts, &key, Some(encode_row(&post)));
    let ran = place.run(&["audit", "--all", "--json", DATA]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let changed = report(&ran);
    assert_eq!(changed["differing"], 1, "{changed:#}");
    let difference = &changed["differences"][0];
    assert_eq!(difference["view"], "posts", "{changed:#}");
    let uri: skytide_core::id::PostKey = key.decode().expect("a key");
    assert_eq!(difference["key"], uri.to_string(), "{changed:#}");

    write(&folder, ViewId::Posts, &key, None);
    let ran = place.run(&["audit", "--all", DATA]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("found    no row"), "{ran:?}");

    write(&folder, ViewId::Posts, &key, Some(row));
    let extra = Key::of(&"made/by_hand".to_owned());
    let counter = encode_row(&skytide_core::view::CounterRow { value: 1 });
    write(&folder, ViewId::Counters, &extra, Some(counter));
    let ran = place.run(&["audit", DATA]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("counters made/by_hand"), "{ran:?}");
    assert!(ran.out.contains("expected no row"), "{ran:?}");
}

#[test]
fn an_audit_that_is_not_possible_exits_with_2() {
    let place = Place::new();
    let ran = place.run(&["audit", DATA]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.starts_with("error: "), "{ran:?}");
}
