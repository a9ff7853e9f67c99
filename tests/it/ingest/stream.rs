//! Each row of the protocol's table of bad streams.
//!
//! Each test reads a stream of twenty valid frames with one fault in the middle: the log must
//! contain the events of the twenty frames in order, and the counter of the fault.

use std::sync::Arc;
use std::time::Duration;

use ciborium::cbor;
use skytide_core::event::Message;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::Log;
use skytide_tests::relay::{Act, RelayServer};

use super::frames::{self, NOON};
use super::harness::{Running, Stored, options, relay_options};

const ALL: std::ops::RangeInclusive<u64> = 1..=20;

/// Reads the twenty frames over connections with these scripts and then over a well-behaved one;
/// returns the content of the log, and the requested cursors.
async fn read(scripts: Vec<Vec<Act>>) -> (Stored, Vec<Option<u64>>) {
    let relay = RelayServer::start(frames::identities(1, 20));
    relay.script(scripts);
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 20).await;
    let cursors = relay.cursors();
    running.stop().await;
    assert_eq!(stored.seqs(), ALL.collect::<Vec<_>>());
    assert_eq!(
        stored.ticks.last().unwrap().time.0,
        NOON + 10_000,
        "the median of all frames"
    );
    (stored, cursors)
}

/// The same, with one additional message in the middle of one connection.
async fn read_with(bad: Act) -> Stored {
    let (stored, cursors) = read(vec![vec![Act::Frames(10), bad, Act::Follow]]).await;
    assert_eq!(cursors, [Some(0)], "there is one connection");
    stored
}

#[tokio::test]
async fn an_unknown_type_is_ignored_and_counted() {
    let frame = frames::frame("#future", &cbor!({"what" => 1}).unwrap());
    let stored = read_with(Act::Binary(frame)).await;
    assert_eq!(
        (
            stored.count("dropped/frame_type"),
            stored.count("frames/other")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn an_unknown_op_is_ignored_and_counted() {
    let body = cbor!({}).unwrap();
    let frame = frames::encode(&cbor!({"op" => 2, "t" => "#commit"}).unwrap(), &body);
    assert_eq!(
        read_with(Act::Binary(frame))
            .await
            .count("dropped/frame_op"),
        1
    );
}

#[tokio::test]
async fn a_header_in_another_order_with_unknown_fields_is_accepted() {
    let relay = RelayServer::start([]);
    let header = cbor!({"op" => 1, "x" => "y", "t" => "#identity"}).unwrap();
    let body = cbor!({
        "time" => "2026-07-04T14:38:00Z", "new" => [1, 2], "seq" => 7, "did" => frames::did(7)
    });
    relay.publish([frames::encode(&header, &body.unwrap())]);
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 7).await;
    assert_eq!(stored.seqs(), [7]);
    running.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_a_frame_are_dropped_and_counted() {
    let mut three = frames::identity(99, NOON);
    three.push(0);
    let mut cut = frames::identity(99, NOON);
    cut.truncate(cut.len() - 3);
    for bad in [b"garbage".to_vec(), Vec::new(), three, cut] {
        let stored = read_with(Act::Binary(bad)).await;
        assert_eq!(stored.count("dropped/frame_cbor"), 1);
        assert_eq!(stored.count("frames"), 21);
    }
}

#[tokio::test]
async fn a_text_message_is_dropped_and_counted() {
    let stored = read_with(Act::Text("{}".to_owned())).await;
    assert_eq!(stored.count("dropped/frame_text"), 1);
}

#[tokio::test]
async fn repeated_garbage_makes_ingest_reconnect() {
    let mut script = vec![Act::Frames(10)];
    script.extend(vec![Act::Binary(b"garbage".to_vec()); 40]);
    script.push(Act::Quiet);
    let (stored, cursors) = read(vec![script]).await;
    assert_eq!(cursors, [Some(0), Some(10)]);
    // After the sixteenth in a row ingest reconnects; the part of the old connection that it had
    // not read by then is lost.
    let dropped = stored.count("dropped/frame_cbor");
    assert!((16..=40).contains(&dropped), "{dropped}");
    assert_eq!(stored.count("disconnects"), 1);
}

#[tokio::test]
async fn an_error_frame_ends_the_connection_and_never_the_cursor() {
    for name in ["FutureCursor", "ConsumerTooSlow", "Unheard"] {
        let bad = Act::Binary(frames::error(name));
        let (stored, cursors) = read(vec![
            vec![Act::Frames(10), bad.clone(), Act::Quiet],
            vec![bad.clone(), Act::Close(1008)],
            vec![bad, Act::Reset],
        ])
        .await;
        assert_eq!(cursors, [Some(0), Some(10), Some(10), Some(10)]);
        assert_eq!(stored.count("dropped/frame_error"), 3);
        let known = if name == "Unheard" { "other" } else { name };
        assert_eq!(stored.count(&format!("error/{known}")), 3);
    }
}

#[tokio::test]
async fn an_outdated_cursor_is_recorded_in_the_log() {
    let stored = read_with(Act::Binary(frames::info("OutdatedCursor"))).await;
    assert_eq!(stored.count("info/OutdatedCursor"), 1);
    let stored = read_with(Act::Binary(frames::info("Other"))).await;
    assert_eq!(stored.count("info/other"), 1);
}

#[tokio::test]
async fn a_message_over_the_limit_is_rejected_and_the_stream_continues_after_it() {
    let relay = RelayServer::start(frames::identities(1, 10));
    let mut large = frames::identity(11, NOON);
    large.resize(5_000_001, 0);
    relay.publish([large]);
    relay.publish(frames::identities(12, 9));
    relay.script(vec![vec![Act::Follow], vec![Act::Follow]]);
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 20).await;
    let others: Vec<u64> = ALL.filter(|&seq| seq != 11).collect();
    assert_eq!(stored.seqs(), others);
    // It was received and discarded: only a message beyond the limit of the socket ends a connection.
    assert_eq!(relay.cursors(), [Some(0)]);
    assert_eq!(stored.count("dropped/frame_size"), 1);
    assert_eq!(stored.count("missing_seqs"), 1);
    running.stop().await;
}

#[tokio::test]
async fn gaps_are_legal_and_counted() {
    let relay = RelayServer::start(frames::identities(1, 5));
    relay.publish(frames::identities(10, 5));
    relay.publish(frames::identities(1_000, 1));
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 1_000).await;
    assert_eq!(stored.events.len(), 11);
    assert_eq!(
        (stored.count("gaps"), stored.count("missing_seqs")),
        (2, 4 + 985)
    );
    running.stop().await;
}

#[tokio::test]
async fn frames_sent_again_are_skipped_and_counted() {
    let script = vec![Act::Frames(10), Act::Again(1), Act::Again(7), Act::Follow];
    let (stored, _) = read(vec![script]).await;
    assert_eq!(stored.count("dropped/seq_repeated"), 8);
    assert_eq!(stored.count("resets"), 0);
}

#[tokio::test]
async fn restarted_numbers_are_detected_and_lose_nothing() {
    let before: Vec<_> = (1..=40)
        .map(|n| frames::identity(20_000_000 + n, NOON + n))
        .collect();
    let after: Vec<_> = (1..=100)
        .map(|n| frames::identity(n, NOON + 60_000 + n))
        .collect();
    let relay = RelayServer::start(before);
    relay.publish(after);
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 100).await;
    let expected: Vec<u64> = (1..=40).map(|n| 20_000_000 + n).chain(1..=100).collect();
    assert_eq!(stored.seqs(), expected);
    assert_eq!(
        (stored.count("resets"), stored.count("dropped/seq_repeated")),
        (1, 0)
    );
    running.stop().await;
}

#[tokio::test]
async fn another_relay_starts_in_its_own_numbering() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let first = RelayServer::start(frames::identities(1_000, 10));
    let running = Running::relay(relay_options(&first), options(), log.clone());
    running.until(|stored| stored.cursor() == 1_009).await;
    let epoch = running.stop().await.tick.unwrap().epoch;

    let second = RelayServer::start(frames::identities(1, 20));
    let running = Running::relay(relay_options(&second), options(), log);
    let stored = running.until(|stored| stored.cursor() == 20).await;
    assert_eq!(second.cursors(), [Some(0)]);
    assert_eq!(
        stored.seqs(),
        (1_000..1_010).chain(1..=20).collect::<Vec<_>>()
    );
    // One tick ends the stretch of the first relay before an epoch of the second one begins.
    let mut hosts: Vec<_> = stored.ticks.iter().map(|tick| &*tick.host).collect();
    hosts.dedup();
    let urls = [first.url(), second.url()].map(|url| url.replace("ws://", ""));
    assert_eq!(hosts, urls);
    let later = stored.ticks.iter().filter(|tick| tick.epoch > epoch);
    assert!(later.filter(|tick| *tick.host == *urls[0]).count() <= 1);
    running.stop().await;
}

#[tokio::test]
async fn a_silent_stall_is_noticed_with_and_without_pings() {
    for pings in [false, true] {
        let relay = RelayServer::start(frames::identities(1, 20));
        let silent = if pings { Act::Stall } else { Act::Quiet };
        relay.script([vec![Act::Frames(10), silent]]);
        let mut reading = relay_options(&relay);
        let short = Duration::from_millis(30);
        if pings {
            reading.ping_interval = short;
        } else {
            reading.read_timeout = short;
        }
        let running = Running::relay(reading, options(), Arc::new(MemoryLog::new(1)));
        let stored = running.until(|stored| stored.cursor() == 20).await;
        assert_eq!(stored.seqs(), ALL.collect::<Vec<_>>());
        assert_eq!(relay.cursors()[1], Some(10));
        running.stop().await;
    }
}

#[tokio::test]
async fn broken_and_refused_connections_are_retried() {
    let refuse = |status, headers: &[(&'static str, &str)], body| {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        vec![Act::Refuse {
            status,
            headers,
            body,
        }]
    };
    let (stored, cursors) = read(vec![
        refuse(429, &[("Retry-After", "0")], ""),
        refuse(500, &[], "oops"),
        refuse(200, &[("Content-Type", "text/html")], "<html>hello</html>"),
        vec![Act::Frames(3), Act::Reset],
        refuse(503, &[("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")], ""),
        vec![Act::Frames(3), Act::Close(1001)],
        vec![Act::Frames(3)],
    ])
    .await;
    let at = |cursor| Some(cursor);
    assert_eq!(cursors[..4], [at(0), at(0), at(0), at(0)]);
    // A reset may overtake frames that were sent before it.
    assert_eq!(cursors.len(), 8);
    assert!(cursors.is_sorted() && cursors[7] <= at(9), "{cursors:?}");
    assert_eq!(stored.count("disconnects"), 3);
}

#[tokio::test]
async fn counts_appear_in_the_metrics() {
    let relay = RelayServer::start(frames::identities(1, 20));
    relay.script([vec![
        Act::Frames(10),
        Act::Text("x".to_owned()),
        Act::Follow,
    ]]);
    let running = Running::from_relay(&relay);
    let stored = running.until(|stored| stored.cursor() == 20).await;
    // Metrics follow durable data: the next tick proves that they have been updated.
    let ticks = stored.ticks.len();
    running.until(|stored| stored.ticks.len() > ticks + 1).await;
    let metrics = running.metrics();
    for line in [
        "skytide_ingest_frames_total{type=\"#identity\"} 20",
        "skytide_ingest_dropped_total{reason=\"frame_text\"} 1",
        "skytide_ingest_events_total{collection=\"\",operation=\"identity\"} 20",
        "skytide_ingest_connected 1",
        "skytide_ingest_seq 20",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let bytes: usize = frames::identities(1, 20).iter().map(Vec::len).sum();
    let line = format!("skytide_ingest_frame_bytes_total {}", bytes + 1);
    assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    running.stop().await;
}

#[tokio::test]
async fn events_are_written_before_the_tick_that_covers_them() {
    let relay = RelayServer::start(frames::relay());
    let running = Running::from_relay(&relay);
    let newest = frames::relay().len() as u64;
    running
        .until(|stored| stored.count("frames") == newest)
        .await;
    let log = running.log.clone();
    running.stop().await;
    let mut reader = log.reader(log.bounds().await.unwrap().first).await.unwrap();
    let mut cursor = 0;
    for (_, message) in reader.next(100_000).await.unwrap() {
        match message {
            Message::Event(event) => assert!(event.seq.0 > cursor, "a tick precedes its event"),
            Message::Tick(tick) => cursor = tick.cursor.0,
        }
    }
}
