//! Cursors, many clients, slow clients.

use std::time::Duration;

use skytide_simnet::server::{Cursors, Limits, Options, Pace, RelayOptions, Server};

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
async fn a_cursor_is_exclusive_and_none_is_the_present() {
    let server = Server::start(at_once(), frames(9), clock()).await.unwrap();
    server.until(|state| state.ended).await;
    for (cursor, from) in [(Some(0), 1), (Some(1), 2), (Some(8), 9)] {
        let mut client = Client::open(&server, cursor).await;
        assert_eq!(client.some(10 - from as usize).await, seqs(from, 9));
    }
    // Nothing comes: a ping is answered first.
    for cursor in [None, Some(9)] {
        let mut client = Client::open(&server, cursor).await;
        assert!(client.ping().await, "{cursor:?}");
    }
}

#[tokio::test]
async fn live_is_what_leaves_from_then_on() {
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

/// A window that holds the last 4 of 9 frames.
fn short(cursors: Cursors) -> Options {
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
async fn a_cursor_that_is_too_old_or_too_new_is_told() {
    let clock = clock();
    let server = Server::start(short(Cursors::Told), frames(9), clock.clone());
    let server = server.await.unwrap();
    server.until(|state| state.caught_up).await;
    clock.set(at(1_000));
    server.until(|state| state.ended).await;
    let mut client = Client::open(&server, Some(2)).await;
    assert_eq!(client.next().await, Got::Told("OutdatedCursor".to_owned()));
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(5)).await;
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.some(4).await, seqs(6, 9));
    let mut client = Client::open(&server, Some(10)).await;
    assert_eq!(client.next().await, Got::Told("FutureCursor".to_owned()));
    assert_eq!(client.next().await, Got::Closed(1008));
}

#[tokio::test]
async fn or_it_is_not_told_as_at_the_real_relay() {
    let clock = clock();
    let server = Server::start(short(Cursors::Untold), frames(9), clock.clone());
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
async fn as_fast_as_possible_waits_for_the_slowest_client() {
    let options = Options {
        pace: Pace::Max,
        window: Limits {
            frames_max: 64,
            ..Limits::default()
        },
        ..Options::default()
    };
    // Together far more than fits between the two.
    let server = Server::start(options, sized(2_000, 20_000), clock())
        .await
        .unwrap();
    let mut fast = Client::open(&server, Some(0)).await;
    let mut slow = Client::open(&server, Some(0)).await;
    let fast = tokio::spawn(async move { fast.some(2_000).await });
    for seq in 1..=2_000 {
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
async fn a_client_that_does_not_read_is_cut_off_and_told_so() {
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
    let mut deaf = Client::open(&server, None).await;
    assert!(deaf.ping().await);
    let mut quick = Client::open(&server, Some(0)).await;
    clock.set(at(100));
    let read = tokio::spawn(async move { quick.some(1_000).await });
    server.until(|state| state.too_slow > 0).await;
    let mut last = Got::Seq(0);
    let told = loop {
        match deaf.next().await {
            Got::Seq(seq) => last = Got::Seq(seq),
            told => break told,
        }
    };
    assert_ne!(last, Got::Seq(1_000));
    // It may have been cut off within a frame.
    assert!(
        matches!(&told, Got::Told(name) if name == "ConsumerTooSlow") || told == Got::Ended,
        "{told:?}"
    );
    assert_eq!(
        read.await.unwrap(),
        seqs(1, 1_000),
        "others are not disturbed"
    );
}

#[tokio::test]
async fn what_is_no_websocket_is_told_what_it_needs() {
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
async fn the_state_says_what_happened() {
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
