//! Each fault as a client sees it, and its count.

use std::time::Duration;

use skytide_simnet::faults::{Fault, FaultPlan, Faults};
use skytide_simnet::server::{Options, Server};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, Got, seqs};
use crate::frames::{at, clock, frames, planned};

async fn server(plan: FaultPlan) -> Server {
    let started = Server::start(planned(plan), frames(40), clock());
    started.await.expect("started")
}

/// A client that has read 5 frames, after which a fault fires.
async fn after_five_frames(fault: Fault) -> (Client, Server) {
    let server = server(FaultPlan::default().on_connection(1, 5, fault)).await;
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.some(5).await, seqs(1, 5), "{fault}");
    (client, server)
}

/// Checks that the fault fired once, and that the next connection gets the rest of the frames.
async fn fired_once(server: &Server, fault: Fault) {
    let name = fault.as_str();
    let state = server.until(|state| state.faults.contains_key(name)).await;
    assert_eq!(state.faults.into_iter().collect::<Vec<_>>(), [(name, 1)]);
    let mut next = Client::open(server, Some(5)).await;
    assert_eq!(next.some(35).await, seqs(6, 40), "{fault}");
}

#[tokio::test]
async fn refusals_have_their_status_and_retry_after() {
    let plan = FaultPlan {
        retry_after_seconds: 7,
        ..FaultPlan::default()
    };
    let refusals = [
        (Fault::Http429, 429, Some("7")),
        (Fault::Http500, 500, None),
        (Fault::Http503, 503, Some("7")),
        (Fault::Html, 200, None),
    ];
    let plan = (1..).zip(refusals).fold(plan, |plan, (number, refusal)| {
        plan.on_connection(number, 0, refusal.0)
    });
    let server = server(plan).await;
    for (fault, status, after) in refusals {
        let refused = Client::ask(&server, Some(0)).await;
        let (found, retry_after) = refused.err().expect("a refusal");
        assert_eq!((found, retry_after.as_deref()), (status, after), "{fault}");
    }
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.some(40).await, seqs(1, 40));
    let fired = server.faults().fired();
    assert_eq!(
        fired.into_iter().collect::<Vec<_>>(),
        refusals.map(|it| (it.0, 1))
    );
}

#[tokio::test]
async fn close_sends_a_close_frame_and_drop_does_not() {
    for (fault, end) in [(Fault::Close, Got::Closed(1001)), (Fault::Drop, Got::Ended)] {
        let (mut client, server) = after_five_frames(fault).await;
        assert_eq!(client.next().await, end, "{fault}");
        fired_once(&server, fault).await;
    }
}

#[tokio::test]
async fn reset_sends_a_tcp_rst() {
    let server = server(FaultPlan::default().on_connection(1, 5, Fault::Reset)).await;
    let mut client = Client::open(&server, Some(0)).await;
    // The reset may lose bytes in flight.
    let error = loop {
        match client.message().await {
            Some(Ok(_)) => {}
            Some(Err(Error::Io(error))) => break error.kind(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error, std::io::ErrorKind::ConnectionReset);
    fired_once(&server, Fault::Reset).await;
}

#[tokio::test]
async fn stall_answers_no_pings_and_quiet_answers_them() {
    let (mut quiet, server) = after_five_frames(Fault::Quiet).await;
    assert!(quiet.ping().await);
    fired_once(&server, Fault::Quiet).await;
    drop(quiet);

    let (client, server) = after_five_frames(Fault::Stall).await;
    fired_once(&server, Fault::Stall).await;
    assert_eq!(server.state().connections_open, 2);
    let MaybeTlsStream::Plain(mut stream) = client.0.into_inner() else {
        panic!("no TLS here");
    };
    // A ping. Its answer would arrive long before the other connection has read all frames again.
    use tokio::io::AsyncWriteExt;
    stream.write_all(b"\x89\x80\0\0\0\0").await.expect("sent");
    let mut other = Client::open(&server, Some(0)).await;
    assert_eq!(other.some(40).await, seqs(1, 40));
    assert!(other.ping().await);
    let mut answer = [0; 16];
    let silent = tokio::time::timeout(Duration::ZERO, stream.read(&mut answer));
    assert!(silent.await.is_err(), "it answered {answer:?}");
    drop((stream, other));
    server.until(|state| state.connections_open == 0).await;
}

#[tokio::test]
async fn the_connection_closes_after_an_error_frame() {
    let errors = [
        (Fault::FutureCursor, "FutureCursor"),
        (Fault::ConsumerTooSlow, "ConsumerTooSlow"),
        (Fault::TypedError, "InternalError"),
    ];
    for (fault, name) in errors {
        let (mut client, server) = after_five_frames(fault).await;
        assert_eq!(client.next().await, Got::Named(name.to_owned()));
        assert_eq!(client.next().await, Got::Closed(1008));
        fired_once(&server, fault).await;
    }
}

#[tokio::test]
async fn the_stream_continues_after_text_or_garbage() {
    for (fault, got) in [(Fault::Text, Got::Text), (Fault::Garbage, Got::Binary)] {
        let (mut client, server) = after_five_frames(fault).await;
        assert_eq!(client.next().await, got);
        assert_eq!(client.some(35).await, seqs(6, 40));
        fired_once(&server, fault).await;
    }
}

#[tokio::test]
async fn an_oversized_message_exceeds_the_limit_of_any_consumer() {
    let (mut client, server) = after_five_frames(Fault::Oversized).await;
    let error = client.message().await.expect("something");
    assert!(matches!(error, Err(Error::Capacity(_))), "{error:?}");
    fired_once(&server, Fault::Oversized).await;
}

#[tokio::test]
async fn a_fault_planned_by_the_stream_fires_once_on_the_first_connection_there() {
    let plan = FaultPlan::default()
        .on_any_connection(10, Fault::Drop)
        .on_any_connection(10, Fault::Http500)
        .on_any_connection(20, Fault::Text);
    let server = server(plan).await;
    let mut client = Client::open(&server, Some(7)).await;
    assert_eq!(client.some(3).await, seqs(8, 10));
    assert_eq!(client.next().await, Got::Ended);
    let refused = Client::ask(&server, Some(10)).await;
    assert_eq!(refused.err().expect("a refusal").0, 500);
    for text in [Some(Got::Text), None] {
        let mut client = Client::open(&server, Some(10)).await;
        assert_eq!(client.some(10).await, seqs(11, 20));
        if let Some(text) = text {
            assert_eq!(client.next().await, text);
        }
        assert_eq!(client.some(20).await, seqs(21, 40));
    }
    let fired = server.faults().fired();
    assert!(fired.into_values().eq([1, 1, 1]));
}

#[tokio::test]
async fn seq_reset_restarts_the_numbers_on_every_connection() {
    let plan = FaultPlan::default().on_connection(0, 25, Fault::SeqReset);
    let options = Options {
        faults: Faults::new(plan),
        ..Options::default()
    };
    let clock = clock();
    let server = Server::start(options, frames(40), clock.clone());
    let server = server.await.expect("started");
    let mut client = Client::open(&server, Some(0)).await;
    assert_eq!(client.next().await, Got::Seq(1));
    clock.set(at(1_000));
    assert_eq!(client.some(24).await, seqs(2, 25));
    assert_eq!(client.some(15).await, seqs(1, 15));
    server.until(|state| state.ended).await;
    let mut late = Client::open(&server, Some(10)).await;
    assert_eq!(late.some(5).await, seqs(11, 15));
    let mut lost = Client::open(&server, Some(25)).await;
    assert_eq!(lost.next().await, Got::Named("FutureCursor".to_owned()));
    assert_eq!(
        server.faults().fired().into_iter().collect::<Vec<_>>(),
        [(Fault::SeqReset, 1)]
    );
}

#[tokio::test]
async fn with_random_faults_a_client_that_reconnects_misses_nothing() {
    // Without a timeout the client would wait forever after `stall` or `quiet`, so the plan has
    // neither.
    let plan = "reset=5000,drop=5000,close=5000,garbage=10000,text=10000,future_cursor=3000,\
                consumer_too_slow=3000,typed_error=3000,oversized=3000,http_429=100000,\
                http_500=100000,http_503=100000,html=100000";
    let plan = FaultPlan {
        seed: 3,
        ..FaultPlan::default()
    }
    .with(plan)
    .expect("a plan");
    let server = Server::start(planned(plan), frames(5_000), clock());
    let server = server.await.expect("started");
    let (mut cursor, mut texts, mut garbage) = (0, 0, 0);
    while cursor < 5_000 {
        let Ok(mut client) = Client::ask(&server, Some(cursor)).await else {
            continue;
        };
        loop {
            match client.message().await {
                Some(Ok(Message::Binary(bytes))) => match crate::frames::seq_of(&bytes) {
                    Some(seq) => {
                        assert_eq!(seq, cursor + 1);
                        cursor = seq;
                    }
                    None => garbage += u64::from(bytes.starts_with(b"\xff")),
                },
                Some(Ok(Message::Text(_))) => texts += 1,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
            if cursor == 5_000 {
                break;
            }
        }
    }
    let fired = server.faults().fired();
    assert_eq!(fired.len(), 13, "{fired:?}");
    // A reset may have lost some messages, and the client did not read those after the last frame.
    assert!(texts > 20 && texts <= fired[&Fault::Text], "{texts}");
    assert!(
        garbage > 20 && garbage <= fired[&Fault::Garbage],
        "{garbage}"
    );
}
