//! The latency of a message from `append` to a reader, at the rates of the live stream. This is an
//! open loop: events are due at fixed times, and a slow log makes them late.

use std::time::{Duration, Instant};

use skytide_core::config::Nats as Config;
use skytide_core::event::Message;
use skytide_core::port::log::Log;
use skytide_nats::NatsLog;

use crate::stores::message;

/// Duration of the measurement of each rate.
const SECONDS: u64 = 5;

/// Prints the latency at this many events per second.
pub async fn run(config: &Config, rate: u64) {
    let (from, to) = (
        NatsLog::connect(config).await,
        NatsLog::connect(config).await,
    );
    let (from, to) = (from.expect("a server"), to.expect("a server"));
    let mut writer = from.writer().await.expect("there is no other writer");
    let next = to.bounds().await.expect("a server").next;
    let mut reader = to.reader(next).await.expect("the end");
    let events = rate * SECONDS;
    let start = Instant::now() + Duration::from_millis(100);
    let due = move |number: u64| start + Duration::from_secs_f64(number as f64 / rate as f64);
    let reading = tokio::spawn(async move {
        let mut latencies = Vec::new();
        while latencies.len() < events as usize {
            let read = reader.next(4_096).await.expect("more");
            let now = Instant::now();
            for (_, message) in read {
                if let Message::Event(event) = message {
                    let number = event.seq.0 - message_seq(0);
                    latencies.push(now.saturating_duration_since(due(number)));
                }
            }
        }
        latencies
    });
    let mut number = 0;
    while number < events {
        tokio::time::sleep_until(due(number).into()).await;
        let late = start.elapsed().as_secs_f64() * rate as f64;
        let until = (late as u64 + 1).clamp(number + 1, events);
        writer
            .append((number..until).map(message).collect())
            .await
            .expect("room");
        writer.flush().await.expect("a server");
        number = until;
    }
    let mut latencies = reading.await.expect("no panic");
    latencies.sort_unstable();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "    {rate:6} events/s: p50 {:5.2} ms, p99 {:5.2} ms, longest {:6.2} ms",
        at(0.5),
        at(0.99),
        latencies.last().expect("some").as_secs_f64() * 1e3
    );
}

fn message_seq(number: u64) -> u64 {
    match message(number) {
        Message::Event(event) => event.seq.0,
        Message::Tick(_) => 0,
    }
}
