//! When frames are sent, and how a restarted server continues.

use std::time::Duration;

use skytide_simnet::server::{Options, Pace, Server};

use crate::client::Client;
use crate::frames::{START, at, clock, frames};

#[tokio::test]
async fn the_clock_determines_which_frames_are_due() {
    // The network starts with its first frame, at 10 ms.
    for (speed, due) in [(1.0, 11), (2.0, 21), (0.5, 6)] {
        let clock = clock();
        let options = Options {
            pace: Pace::Clock { speed },
            ..Options::default()
        };
        let server = Server::start(options, frames(99), clock.clone());
        let server = server.await.unwrap();
        server.until(|state| state.caught_up).await;
        assert_eq!(server.state().newest_seq, 1);
        clock.set(at(100));
        server.until(|state| state.newest_seq >= due).await;
        clock.set(at(99));
        let more = server.state().newest_seq;
        assert_eq!(more, due, "at speed {speed}");
    }
}

#[tokio::test]
async fn a_backlog_is_sent_at_once() {
    let options = Options {
        backlog: Duration::from_millis(500),
        ..Options::default()
    };
    let server = Server::start(options, frames(99), clock()).await.unwrap();
    let state = server.until(|state| state.caught_up).await;
    assert_eq!((state.newest_seq, state.network_time_ms), (51, at(510).0));
}

#[tokio::test]
async fn an_open_loop_sends_at_a_constant_rate_whatever_the_network_time() {
    let clock = clock();
    let options = Options {
        pace: Pace::Rate {
            events_per_second: 10.0,
        },
        backlog: Duration::from_millis(190),
        ..Options::default()
    };
    let server = Server::start(options, frames(99), clock.clone());
    let server = server.await.unwrap();
    // 20 frames of backlog; the next frame starts the rate.
    server.until(|state| state.newest_seq == 21).await;
    clock.set(at(2_000));
    let state = server.until(|state| state.newest_seq >= 41).await;
    assert_eq!(state.newest_seq, 41);
    clock.set(at(2_099));
    assert_eq!(server.state().newest_seq, 41);
}

#[tokio::test]
async fn frames_can_be_prepared_before_the_first_is_sent() {
    let clock = clock();
    let options = Options {
        prepared: 50,
        ..Options::default()
    };
    let server = Server::start(options, frames(99), clock.clone());
    let server = server.await.unwrap();
    clock.set(at(10_000));
    server.until(|state| state.ended).await;
    let mut client = Client::open(&server, Some(0)).await;
    let bytes = client.bytes(99).await;
    assert_eq!(bytes[98], crate::frames::identity(99, 0));
}

#[tokio::test]
async fn a_restarted_server_continues_with_the_same_bytes() {
    let began = Some(START);
    let options = |from| Options {
        began,
        backlog: Duration::from_millis(100),
        from,
        ..Options::default()
    };
    let clock = clock();
    let first = Server::start(options(0), frames(99), clock.clone());
    let first = first.await.unwrap();
    let mut client = Client::open(&first, Some(0)).await;
    let mut bytes = client.bytes(11).await;
    clock.set(at(100));
    bytes.extend(client.bytes(10).await);
    first.stop().await;
    // While the server was stopped, 30 more frames became due; the client had 15.
    clock.set(at(400));
    let second = Server::start(options(12), frames(99), clock.clone());
    let second = second.await.unwrap();
    let mut client = Client::open(&second, Some(15)).await;
    bytes.truncate(15);
    bytes.extend(client.bytes(36).await);
    let state = second.until(|state| state.caught_up).await;
    assert_eq!((state.skipped_seq, state.newest_seq), (12, 51));
    let undisturbed: Vec<_> = (1..=51)
        .map(|seq| crate::frames::identity(seq, 0))
        .collect();
    assert_eq!(bytes, undisturbed);
}

#[tokio::test]
async fn frames_older_than_the_retention_are_skipped_at_the_start() {
    let options = Options {
        backlog: Duration::from_secs(20),
        retention: Some(Duration::from_secs(5)),
        ..Options::default()
    };
    let server = Server::start(options, frames(2_000), clock())
        .await
        .unwrap();
    let state = server.until(|state| state.ended).await;
    // Skipping advances by 256 frames, so it may skip a little more than requested.
    assert!((1_500..1_757).contains(&state.skipped_seq), "{state:?}");
    assert_eq!(state.frames, 2_000 - state.skipped_seq);
}

#[tokio::test]
async fn an_ended_network_can_still_be_read() {
    let clock = clock();
    let server = Server::start(Options::default(), frames(99), clock.clone());
    let server = server.await.unwrap();
    clock.set(at(100));
    server.until(|state| state.newest_seq == 11).await;
    server.end();
    server.until(|state| state.ended).await;
    clock.set(at(10_000));
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.some(11).await, crate::client::seqs(1, 11));
    assert_eq!(server.state().newest_seq, 11);
}
