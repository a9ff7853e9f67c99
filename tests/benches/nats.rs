//! The log on NATS, compared in the same run with the bare client on the same server, stream and
//! bytes: `cargo bench -p skytide-tests -- nats`. Client and server share the machine.

mod bare;
mod live;

use std::time::Instant;

use skytide_core::config::{Compression, Nats as Config};
use skytide_core::event::Message;
use skytide_core::port::log::Log;
use skytide_nats::NatsLog;
use skytide_tests::servers::Nats;

use crate::stores::{message, tick};

/// Number of events in an epoch while ingest catches up (`FIREHOSE_TICK_EVENTS_MAX`).
const EPOCH: u64 = 5_000;

/// Number of measurements of each variant.
const ROUNDS: usize = 5;

/// Prints rates and latencies.
pub fn run() {
    let Some(nats) = Nats::start() else { return };
    println!(
        "\nnats: JetStream on files, one server, on this machine; likes of 351 bytes, the most frequent on the relay"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for compression in [Compression::None, Compression::S2] {
            println!("  compression {compression:?}");
            bursts(&nats, compression).await;
        }
        println!("  live: one event per append, a flush after each; from append to a reader with its own connection");
        for rate in [500, 2_000, 10_000] {
            live::run(&options(&nats, Compression::S2), rate).await;
        }
    });
}

/// Options for a stream of the benchmark's own.
fn options(nats: &Nats, compression: Compression) -> Config {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut config = Config::at(&nats.url()).expect("an address");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    config.stream = format!("bench-{count}").parse().expect("a name");
    config.bytes_max = Some("2GiB".parse().expect("a size"));
    config.compression = compression;
    config
}

/// Measures bare client and log alternately, so that other load on the machine affects both;
/// reports the medians.
async fn bursts(nats: &Nats, compression: Compression) {
    for (events, batch) in [(200_000, 1), (1_000_000, 64)] {
        let mut seconds = [const { Vec::new() }; 3];
        let mut packed = String::new();
        for _ in 0..ROUNDS {
            let mut config = options(nats, compression);
            config.batch_events_max = batch;
            seconds[0].push(bare::publish(&config, events, u64::from(batch)).await);
            delete(&config).await;
            seconds[1].push(write(&config, events).await);
            seconds[2].push(read(&config, events).await);
            packed = packing(&config, events).await;
            delete(&config).await;
        }
        println!("    up to {batch} events per message");
        let names = ["bare client", "log, append and flush", "log, read"];
        for (name, mut seconds) in names.into_iter().zip(seconds) {
            seconds.sort_by(f64::total_cmp);
            let [slow, middle, fast] =
                [ROUNDS - 1, ROUNDS / 2, 0].map(|place| events as f64 / seconds[place]);
            println!("      {name:24} {middle:10.0} events/s ({slow:.0} to {fast:.0})");
        }
        println!("      {packed}");
    }
}

async fn delete(config: &Config) {
    let client = async_nats::connect(config.url[0].with_secret()).await;
    let jetstream = async_nats::jetstream::new(client.expect("a server"));
    let deleted = jetstream.delete_stream(config.stream.as_str()).await;
    deleted.expect("a stream");
}

/// The average content of a message of the log.
async fn packing(config: &Config, events: u64) -> String {
    let log = NatsLog::connect(config).await.expect("a server");
    let bounds = log.bounds().await.expect("a server");
    let messages = (bounds.next.0 - bounds.first.0) as f64;
    format!(
        "a message of the log: {:.1} events, {:.0} bytes on average",
        events as f64 / messages,
        bounds.bytes as f64 / messages
    )
}

/// Appends epochs and flushes; excludes the cost of making the events.
async fn write(config: &Config, events: u64) -> f64 {
    let log = NatsLog::connect(config).await.expect("a server");
    let mut writer = log.writer().await.expect("there is no other writer");
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
