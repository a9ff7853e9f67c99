//! The embedded log and store: `cargo bench -p skytide-tests -- stores`. Comparisons of databases:
//! `benches/stores/`.

mod wire_serde;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use skytide_core::event::{Action, Body, Event, Message, Op, Sources, Tick};
use skytide_core::id::{Cid, Cursor, Did, Epoch, Seq, Tid};
use skytide_core::port::log::Log;
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{Change, Key, ViewId};
use skytide_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};

const MESSAGES: u64 = 1_000_000;
const BATCH: u64 = 5_000;

/// Prints rates of the wire format, the log and the store.
pub fn run() {
    println!(
        "\nstores: messages of {} bytes in batches of {BATCH}",
        encoded_bytes()
    );
    wire();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime");
    for (sync, batches_per_flush) in [(false, 1), (true, 20), (true, 1)] {
        runtime.block_on(log(sync, batches_per_flush));
    }
    for rows in [5_000, 100_000] {
        runtime.block_on(store(rows));
    }
}

/// A like, the most frequent record on the relay: its CBOR on the log has about 300 bytes.
pub fn message(number: u64) -> Message {
    let mut did = [7; 15];
    did[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Message::Event(Event {
        host: Arc::from("bsky.network"),
        seq: Cursor(31_527_015_322 + number),
        index: 0,
        time: Timestamp(1_783_175_886_928 + number),
        did: Did::from_plc(did),
        body: Body::Op(Op {
            rev: Tid(0x1999_9999_0000_0000 + number),
            since: Some(Tid(0x1999_9999_0000_0000 + number - 1)),
            action: Action::Create,
            collection: "app.bsky.feed.like".parse().expect("a collection"),
            rkey: Tid(0x1999_9999_0000_0000 + number).into(),
            cid: Some(Cid::dag_cbor([number as u8; 32])),
            record: Some(vec![number as u8; 150].into()),
        }),
    })
}

fn messages(from: u64) -> Vec<Message> {
    (from..from + BATCH).map(message).collect()
}

/// The tick of an epoch.
pub fn tick(epoch: u64) -> Message {
    Message::Tick(Tick {
        epoch: Epoch(epoch),
        time: Timestamp(epoch),
        host: Arc::from("bsky.network"),
        cursor: Cursor(epoch),
        frames: epoch,
        last: false,
        idle: false,
        sources: Sources::default(),
        counts: [("frames/#commit".into(), BATCH)].into(),
    })
}

fn encoded_bytes() -> usize {
    let mut bytes = Vec::new();
    message(1).encode(&mut bytes);
    bytes.len()
}

/// Encoding and decoding on one core, compared with serde and ciborium for the same map.
fn wire() {
    let messages = messages(1);
    let mut bytes = Vec::new();
    let encoded: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes
        })
        .collect();
    rate("encode", 100, || {
        bytes.clear();
        messages
            .iter()
            .for_each(|message| message.encode(&mut bytes));
    });
    rate("decode", 100, || {
        for bytes in &encoded {
            black_box(Message::decode(bytes).expect("a valid message"));
        }
    });
    let values: Vec<_> = encoded
        .iter()
        .map(|bytes| wire_serde::decode(bytes))
        .collect();
    rate("encode by serde and ciborium", 20, || {
        bytes.clear();
        values
            .iter()
            .for_each(|value| wire_serde::encode(value, &mut bytes));
    });
    rate("decode by serde and ciborium", 20, || {
        encoded
            .iter()
            .for_each(|bytes| drop(black_box(wire_serde::decode(bytes))));
    });
}

/// Runs `batch` this many times and prints messages per second.
fn rate(name: &str, times: u64, mut batch: impl FnMut()) {
    let start = Instant::now();
    (0..times).for_each(|_| batch());
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "  {name:32} {:10.0} messages/s",
        (times * BATCH) as f64 / seconds
    );
}

async fn log(sync: bool, batches_per_flush: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = LogOptions {
        sync,
        ..LogOptions::default()
    };
    let log = EmbeddedLog::open(folder.path(), options).expect("a log");
    let mut writer = log.writer().await.expect("a writer");
    let mut spent = std::time::Duration::ZERO;
    for batch in 0..MESSAGES / BATCH {
        let mut batch_messages = messages(1 + batch * BATCH);
        batch_messages.push(tick(batch + 1));
        let start = Instant::now();
        writer.append(batch_messages).await.expect("room");
        if (batch + 1).is_multiple_of(batches_per_flush) {
            writer.flush().await.expect("a disk");
        }
        spent += start.elapsed();
    }
    drop(writer);
    let what = match (sync, batches_per_flush) {
        (false, _) => "no sync".to_owned(),
        (true, count) => format!("sync every {}", count * BATCH),
    };
    println!(
        "  log: append, {what:18} {:10.0} messages/s",
        per_second(spent)
    );
    if batches_per_flush == 1 && !sync {
        return;
    }
    let start = Instant::now();
    let log = EmbeddedLog::open(folder.path(), options).expect("a log");
    println!(
        "  log: open                        {:10.1} ms",
        milliseconds(start)
    );
    let start = Instant::now();
    log.newest_tick().await.expect("a log").expect("a tick");
    println!(
        "  log: newest tick                 {:10.2} ms",
        milliseconds(start)
    );
    let start = Instant::now();
    let mut reader = log.reader(Seq(1)).await.expect("the first message");
    let end = log.bounds().await.expect("a log").next;
    let mut next = Seq(1);
    while next < end {
        let messages = reader.next(5_000).await.expect("messages");
        next = Seq(messages.last().expect("a message").0.0 + 1);
    }
    println!(
        "  log: read and decode             {:10.0} messages/s",
        per_second(start.elapsed())
    );
    let start = Instant::now();
    for place in 1..=20 {
        log.reader(Seq(end.0 / 21 * place))
            .await
            .expect("a message");
    }
    println!(
        "  log: seek                        {:10.1} ms",
        milliseconds(start) / 20.0
    );
}

fn per_second(spent: std::time::Duration) -> f64 {
    MESSAGES as f64 / spent.as_secs_f64()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

async fn store(rows: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).expect("a store");
    let term = store.lead().await.expect("a term").term;
    let total = 2_000_000;
    let start = Instant::now();
    for epoch in 1..=total / rows {
        store
            .begin(term, Epoch(epoch).into())
            .await
            .expect("a turn");
        for view in [ViewId::Posts, ViewId::Actors] {
            let changes = (0..rows / 2).map(|row| change(epoch, row)).collect();
            store.write(term, view, changes).await.expect("a term");
        }
        let committed = Committed {
            epoch: Epoch(epoch),
            ..Committed::default()
        };
        store.commit(term, committed).await.expect("a disk");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "  store: commits of {rows:<7}        {:10.0} rows/s",
        total as f64 / seconds
    );
    drop(store);
    let start = Instant::now();
    drop(EmbeddedStore::open(folder.path(), StoreOptions::default()).expect("a store"));
    println!(
        "  store: open                      {:10.1} ms",
        milliseconds(start)
    );
}

/// Every other row is new; the others are overwritten repeatedly.
fn change(epoch: u64, row: u64) -> Change {
    let number = if row.is_multiple_of(2) {
        row
    } else {
        epoch << 20 | row
    };
    let mut key = number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()
        .repeat(4);
    key.truncate(29);
    Change {
        key: Key::from(&key[..]),
        row: Some([epoch as u8; 12].into()),
    }
}
