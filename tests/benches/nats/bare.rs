//! The client by itself: publishes as fast as it can, and waits for every acknowledgement at some time.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Instant;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use bytes::Bytes;
use skytide::nats::NatsLog;
use skytide_core::config::Nats as Config;
use skytide_core::port::log::Log;

use crate::stores::message;

/// Acknowledgements that are waited for at once.
const UNDER_WAY: usize = 1_024;

/// Publishes messages of so many events each, encoded before, to the stream of a log; answers the seconds.
pub async fn publish(config: &Config, events: u64, events_a_message: u64) -> f64 {
    // Makes the stream as the log has it.
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
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for payload in payloads {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        last += 1;
        let sent = jetstream
            .publish_with_headers(subject.clone(), headers, payload)
            .await;
        under_way.push_back(sent.expect("a connection").into_future());
        if under_way.len() == UNDER_WAY {
            under_way
                .pop_front()
                .expect("there are some")
                .await
                .expect("stored");
        }
    }
    for ack in under_way {
        ack.await.expect("stored");
    }
    start.elapsed().as_secs_f64()
}
