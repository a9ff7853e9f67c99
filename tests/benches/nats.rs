//! The log on NATS, beside what the bare client does with the same server, stream and bytes, in one run:
//! `cargo bench -p skytide-tests -- nats`. Client and server share the machine.

mod bare;
mod live;

use std::future::Future;
use std::time::Instant;

use skytide::nats::NatsLog;
use skytide_core::config::{Compression, Nats as Config};
use skytide_core::event::Message;
use skytide_core::port::log::Log;
use skytide_tests::servers::Nats;

use crate::stores::{message, tick};

/// Events of an epoch while ingest catches up (`FIREHOSE_TICK_EVENTS_MAX`).
const EPOCH: u64 = 5_000;

/// Prints rates and latencies.
pub fn run() {
    let Some(nats) = Nats::start() else { return };
    println!(
        "\nnats: JetStream on files, one server, on this machine; likes of 351 bytes, as the relay sends most"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for compression in [Compression::None, Compression::S2] {
            println!("  compression {compression:?}");
            bursts(&nats, compression).await;
        }
        println!("  live: one event an append, a flush after each; append to a reader of its own connection");
        for rate in [500, 2_000, 10_000] {
            live::run(&options(&nats, Compression::S2), rate).await;
        }
    });
}

/// Options for a stream of its own.
fn options(nats: &Nats, compression: Compression) -> Config {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut config = Config::at(&nats.url()).expect("an address");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    config.stream = format!("bench-{count}").parse().expect("a name");
    config.bytes_max = "8GiB".parse().expect("a size");
    config.compression = compression;
    config
}

async fn bursts(nats: &Nats, compression: Compression) {
    let config = |batch_events_max| {
        let mut config = options(nats, compression);
        config.batch_events_max = batch_events_max;
        config
    };
    let events = 300_000;
    let bare = config(1);
    rate(
        "bare client, 1 event a message",
        events,
        bare::publish(&bare, events, 1),
    )
    .await;
    let one = config(1);
    rate("log, 1 event a message", events, write(&one, events)).await;
    rate("log, reading these", events, read(&one, events)).await;
    let events = 2_000_000;
    let bare = config(64);
    rate(
        "bare client, 64 events a message",
        events,
        bare::publish(&bare, events, 64),
    )
    .await;
    let many = config(64);
    rate(
        "log, up to 64 events a message",
        events,
        write(&many, events),
    )
    .await;
    rate("log, reading these", events, read(&many, events)).await;
    let log = NatsLog::connect(&many).await.expect("a server");
    let bounds = log.bounds().await.expect("a server");
    let messages = bounds.next.0 - bounds.first.0;
    println!(
        "    of the log's {messages} messages each has {:.1} events and {:.0} bytes on average",
        events as f64 / messages as f64,
        bounds.bytes as f64 / messages as f64
    );
}

/// Runs it and prints how many events a second it did, of the time that it says it took.
async fn rate(name: &str, events: u64, work: impl Future<Output = f64>) {
    let seconds = work.await;
    println!("    {name:34} {:10.0} events/s", events as f64 / seconds);
}

/// Appends epochs and flushes, without what making the events costs.
async fn write(config: &Config, events: u64) -> f64 {
    let log = NatsLog::connect(config).await.expect("a server");
    let mut writer = log.writer().await.expect("nobody else");
    let mut seconds = 0.0;
    for epoch in 1..=events / EPOCH {
        let from = (epoch - 1) * EPOCH;
        let mut messages: Vec<Message> = (from..from + EPOCH).map(message).collect();
        messages.push(tick(epoch));
        let start = Instant::now();
        writer.append(messages).await.expect("room");
        if epoch.is_multiple_of(16) || epoch == events / EPOCH {
            writer.flush().await.expect("a server");
        }
        seconds += start.elapsed().as_secs_f64();
    }
    seconds
}

async fn read(config: &Config, events: u64) -> f64 {
    let log = NatsLog::connect(config).await.expect("a server");
    let first = log.bounds().await.expect("a server").first;
    let start = Instant::now();
    let mut reader = log.reader(first).await.expect("the first message");
    let mut count = 0;
    while count < events {
        let more = reader.next(4_096).await.expect("more");
        count += more
            .iter()
            .filter(|it| matches!(it.1, Message::Event(_)))
            .count() as u64;
    }
    start.elapsed().as_secs_f64()
}
