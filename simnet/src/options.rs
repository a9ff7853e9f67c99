//! Size, speed and malformed input of a network.

use skytide_core::event::Host;
use skytide_core::time::Timestamp;

use crate::malformed::Rates;

/// The options that determine a network.
#[derive(Clone, Debug)]
pub struct Options {
    /// Two networks with the same options and seed are equal, byte for byte.
    pub seed: u64,
    /// Accounts at the start; about one frame in a thousand creates another. At least 1.
    pub accounts: u32,
    /// Mean number of records of an account at the start; busy accounts have more. With some
    /// hundreds, commits are as large as on the real network, but each account's first commit takes
    /// a millisecond.
    pub history: u32,
    /// Network time of the first frame.
    pub start: Timestamp,
    /// Mean frames per second of network time over a day; more in the evening (UTC), fewer in the
    /// morning.
    pub rate: f64,
    /// Frames until the network ends; `None` for an endless network.
    pub events_max: Option<u64>,
    /// Whether commits are signed. An unsigned network differs only in DIDs and signatures, and its
    /// frames take a fraction of the time.
    pub signed: bool,
    /// Live records at which an account starts to delete its oldest ones. Bounds the memory of long
    /// runs.
    pub records_max: Option<u32>,
    /// Accounts, including deleted ones, at which no more are created. Bounds the memory of long
    /// runs.
    pub accounts_max: Option<u32>,
    /// Of 100 posts that are not replies, and of 100 likes and reposts, how many are about one story
    /// that never ends: a hot hashtag, and a few hot posts. `None` for no such story.
    pub hot_percent: Option<u8>,
    /// Kinds and rates of malformed input.
    pub malformed: Rates,
    /// The `host` in the events of [`Frame::events`](crate::Frame::events).
    pub host: Host,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            accounts: 5_000,
            history: 24,
            // 2026-06-01T12:00:00Z
            start: Timestamp(1_780_315_200_000),
            rate: 400.0,
            events_max: None,
            signed: true,
            records_max: None,
            accounts_max: None,
            hot_percent: None,
            malformed: Rates::none(),
            host: "simnet".into(),
        }
    }
}
