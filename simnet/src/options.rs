//! How large a network is, how fast, and how bad.

use skytide_core::event::Host;
use skytide_core::time::Timestamp;

use crate::bad::Rates;

/// Everything that a network follows from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Two networks of the same options and seed are the same, byte for byte.
    pub seed: u64,
    /// Accounts that are there when it starts; about one frame in a thousand is a new one's. At least 1.
    pub accounts: u32,
    /// Records that an account has when the network starts, on average; busy ones have more. With some hundreds, commits
    /// have the size that they have on the network, but each account's first commit costs a millisecond.
    pub history: u32,
    /// Network time of the first frame.
    pub start: Timestamp,
    /// Frames per second of network time, as a mean over a day; more in the evening (UTC), fewer in the morning.
    pub rate: f64,
    /// Frames until the network ends; `None`: it goes on for ever.
    pub events_max: Option<u64>,
    /// Whether commits are signed. Without, all else is the same, and a frame costs a fraction.
    pub signed: bool,
    /// Live records of an account at which it begins to delete its oldest ones, so that long runs stay in memory.
    pub records_max: Option<u32>,
    /// Accounts, those that are gone included, at which nobody new comes, so that long runs stay in memory.
    pub accounts_max: Option<u32>,
    /// What is broken, and how often.
    pub bad: Rates,
    /// What stands as `host` in the events of [`Frame::events`](crate::Frame::events).
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
            bad: Rates::none(),
            host: "simnet".into(),
        }
    }
}
