//! The bare client: publishes as fast as possible, and waits for every acknowledgement eventually.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Instant;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use bytes::Bytes;
use skytide_core::config::Nats as Config;
use skytide_core::port::log::Log;
use skytide_nats::NatsLog;

use crate::stores::message;

/// Maximum number of outstanding acknowledgements.
const IN_FLIGHT_MAX: usize = 1_024;

/// Publishes pre-encoded messages of this many events each to the stream of a log; returns the
/// seconds.
pub async fn publish(config: &Config, events: u64, events_a_message: u64) -> f64 {
    // Creates the stream as the log does.
    let log = NatsLog::connect(config).await.expect("a server");
    let mut last = log.bounds().await.expect("a server").next.0 - 1;
    let client = async_nats::connect(config.url[0].with_secret()).await;
    let jetstream = async_nats::jetstream::new(client.expect("a server"));
    let subject = format!("{}.firehose.p07.app.bsky.feed.like", config.stream);
    let payloads: Vec<Bytes> = (0..events / events_a_message)
        .map(|number| {
            let mut bytes = Vec::new();
            let from = number * events_a_message;
            (from..from + events_a_message).for_each(|it| message(it).encode(&mut bytes));
            bytes.into()
        })
        .collect();
    let start = Instant::now();
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
    for payload in payloads {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        last += 1;
        let sent = jetstream
            .publish_with_headers(subject.clone(), headers, payload)
            .await;
        in_flight.push_back(sent.expect("a connection").into_future());
        if in_flight.len() == IN_FLIGHT_MAX {
            in_flight
                .pop_front()
                .expect("an outstanding acknowledgement")
                .await
                .expect("stored");
        }
    }
    for ack in in_flight {
        ack.await.expect("stored");
    }
    start.elapsed().as_secs_f64()
}
