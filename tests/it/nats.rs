//! The log on a real NATS server: what the contract cannot ask, as only a server can be stopped, frozen or full.

use skytide_core::config::Nats as Config;
use skytide_tests::servers::Nats;

/// Options for a stream of one's own on the shared server.
pub fn own_stream() -> Option<Config> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut config = Config::at(&Nats::shared()?).expect("an address");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // The server may be one that other runs use, too.
    let since = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_micros();
    let name = format!("test-{}-{since}-{count}", std::process::id());
    config.stream = name.parse().expect("a name");
    Some(config)
}
