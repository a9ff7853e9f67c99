//! Cursors, many clients and slow clients.

use std::time::Duration;

use skytide_simnet::server::{CursorPolicy, Limits, Options, Pace, RelayOptions, Server};

use crate::client::{Client, Got, get, seqs};
use crate::frames::{at, at_once, clock, frames, sized};

#[tokio::test]
async fn many_clients_get_the_same_bytes() {
    let server = Server::start(at_once(), frames(500), clock())
        .await
        .unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::open(&server, Some(0)).await);
    }
    let first = clients[0].bytes(500).await;
    for client in &mut clients[1..] {
        assert_eq!(client.bytes(500).await, first);
    }
    assert_eq!(server.state().connections_open, 20);
    drop(clients);
    server.until(|state| state.connections_open == 0).await;
}

#[tokio::test]
async fn a_cursor_is_exclusive_and_no_cursor_means_the_end_of_the_stream() {
    let server = Server::start(at_once(), frames(9), clock()).await.unwrap();
    server.until(|state| state.ended).await;
    for (cursor, from) in [(Some(0), 1), (Some(1), 2), (Some(8), 9)] {
        let mut client = Client::open(&server, cursor).await;
        assert_eq!(client.some(10 - from as usize).await, seqs(from, 9));
    }
    // No frame comes, so the next message answers the ping.
    for cursor in [None, Some(9)] {
        let mut client = Client::open(&server, cursor).await;
        assert!(client.ping().await, "{cursor:?}");
    }
}

#[tokio::test]
async fn without_a_cursor_a_client_gets_the_frames_sent_from_then_on() {
    let clock = clock();
    let server = Server::start(Options::default(), frames(9), clock.clone())
        .await
        .unwrap();
    clock.set(at(40));
    server.until(|state| state.newest_seq == 5).await;
    let mut client = Client::open(&server, None).await;
    assert!(client.ping().await);
    clock.set(at(80));
    assert_eq!(client.some(4).await, seqs(6, 9));
}

/// A window for the last 4 of 9 frames.
fn short(cursors: CursorPolicy) -> Options {
    Options {
        pace: Pace::Rate {
            events_per_second: 1e6,
        },
        window: Limits {
            frames_max: 4,
            ..Limits::default()
        },
        relay: RelayOptions {
            cursors,
            ..RelayOptions::default()
        },
        ..Options::default()
    }
}

#[tokio::test]
async fn strict_cursors_report_an_outdated_or_future_cursor() {
    let clock = clock();
    let server = Server::start(short(CursorPolicy::Strict), frames(9), clock.clone());
    let server = server.await.unwrap();
    server.until(|state| state.caught_up).await;
    clock.set(at(1_000));
    server.until(|state| state.ended).await;
    let mut client = Client::open(&server, Some(2)).await;
    assert_eq!(client.next().await, Got::Named("OutdatedCursor".to_owned()));
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(5)).await;
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(10)).await;
    assert_eq!(client.next().await, Got::Named("FutureCursor".to_owned()));
    assert_eq!(client.next().await, Got::Closed(1008));
}

#[tokio::test]
async fn lenient_cursors_report_nothing_as_the_real_relay_does() {
    let clock = clock();
    let server = Server::start(short(CursorPolicy::Lenient), frames(9), clock.clone());
    let server = server.await.unwrap();
    server.until(|state| state.caught_up).await;
    clock.set(at(1_000));
    server.until(|state| state.ended).await;
    let mut client = Client::open(&server, Some(2)).await;
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(10)).await;
    assert!(client.ping().await);
}

#[tokio::test]
async fn pace_max_waits_for_the_slowest_client() {
    let options = Options {
        pace: Pace::Max,
        window: Limits {
            frames_max: 64,
            ..Limits::default()
        },
        ..Options::default()
    };
    // The frames are far more than the buffers between server and client hold.
    let server = Server::start(options, sized(2_000, 20_000), clock())
        .await
        .unwrap();
    let mut fast = Client::open(&server, Some(0)).await;
    let mut slow = Client::open(&server, Some(0)).await;
    let fast = tokio::spawn(async move { fast.some(2_000).await });
    // Frames that the first client's socket buffered before the second one came may have left the
    // window.
    let Got::Seq(first) = slow.next().await else {
        panic!("a frame comes first");
    };
    for seq in first + 1..=2_000 {
        for _ in 0..seq % 50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.next().await, Got::Seq(seq));
    }
    assert_eq!(fast.await.unwrap(), seqs(1, 2_000));
    let state = server.state();
    assert_eq!((state.too_slow, state.window_frames), (0, 64));
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_an_error_and_is_disconnected() {
    let options = Options {
        pace: Pace::Rate {
            events_per_second: 1e6,
        },
        window: Limits {
            frames_max: 1_000,
            ..Limits::default()
        },
        relay: RelayOptions {
            write_max: Duration::from_secs(1),
            ..RelayOptions::default()
        },
        ..Options::default()
    };
    let clock = clock();
    let server = Server::start(options, sized(1_000, 100_000), clock.clone());
    let server = server.await.unwrap();
    server.until(|state| state.caught_up).await;
    let mut stuck = Client::open(&server, None).await;
    assert!(stuck.ping().await);
    let mut quick = Client::open(&server, Some(0)).await;
    clock.set(at(100));
    let read = tokio::spawn(async move { quick.some(1_000).await });
    server.until(|state| state.too_slow > 0).await;
    let mut last = Got::Seq(0);
    let end = loop {
        match stuck.next().await {
            Got::Seq(seq) => last = Got::Seq(seq),
            other => break other,
        }
    };
    assert_ne!(last, Got::Seq(1_000));
    // The server may have disconnected the client within a frame.
    assert!(
        matches!(&end, Got::Named(name) if name == "ConsumerTooSlow") || end == Got::Ended,
        "{end:?}"
    );
    assert_eq!(
        read.await.unwrap(),
        seqs(1, 1_000),
        "other clients get all frames"
    );
}

#[tokio::test]
async fn a_request_without_a_websocket_upgrade_is_refused() {
    let server = Server::start(at_once(), frames(1), clock()).await.unwrap();
    let answer = get(&server, "/xrpc/com.atproto.sync.subscribeRepos").await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.json()["error"], "InvalidRequest");
    let answer = get(&server, "/xrpc/com.atproto.sync.subscribeRepos?cursor=x").await;
    assert_eq!(
        (answer.status, answer.json()["message"].as_str()),
        (400, Some("cursor must be an integer"))
    );
    let answer = get(&server, "/xrpc/com.atproto.sync.nothing").await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (501, Some("MethodNotImplemented"))
    );
}

#[tokio::test]
async fn the_state_reports_the_counts() {
    let server = Server::start(at_once(), frames(7), clock()).await.unwrap();
    server.until(|state| state.ended).await;
    let state = get(&server, "/_simnet/state").await.json();
    for (name, value) in [
        ("frames", 7),
        ("events", 7),
        ("newest_seq", 7),
        ("connections", 0),
    ] {
        assert_eq!(state[name], value, "{name}");
    }
    assert_eq!(state["caught_up"], true);
}
