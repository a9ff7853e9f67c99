//! The log on real NATS servers: properties outside the contract, for which a server must be
//! stopped, frozen, full or disconnected.

mod access;
mod faults;
mod history;
mod messages;
mod room;
mod writers;

use std::sync::atomic::{AtomicU32, Ordering};

use skytide_core::config::Nats as Config;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{Log, LogReader};
use skytide_nats::NatsLog;
use skytide_tests::servers::Nats;

/// Options for a stream of the test's own on the shared server.
pub fn own_stream() -> Option<Config> {
    Some(named(&Nats::shared()?))
}

/// Options for a stream of the test's own on this server.
fn named(url: &str) -> Config {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut config = Config::at(url).expect("an address");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The server may be shared with other runs.
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    let name = format!("test-{}-{}-{count}", std::process::id(), since.as_micros());
    config.stream = name.parse().expect("a name");
    config.bytes_max = Some("1GiB".parse().expect("a size"));
    config
}

async fn connect(config: &Config) -> NatsLog {
    NatsLog::connect(config).await.unwrap()
}

/// The server's own view of the stream, past the log.
pub async fn raw(config: &Config) -> async_nats::jetstream::stream::Stream {
    let client = async_nats::connect(config.url[0].with_secret())
        .await
        .unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.get_stream(config.stream.as_str()).await.unwrap()
}

/// A reader that starts at the oldest message.
async fn from_the_first(log: &NatsLog) -> Box<dyn LogReader> {
    log.reader(log.bounds().await.unwrap().first).await.unwrap()
}

fn messages(read: Vec<(Seq, Message)>) -> Vec<Message> {
    read.into_iter().map(|(_, message)| message).collect()
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
