//! The simulated network through our own decoder and assembler, and against published vectors.

mod decoded;
mod network;
mod truth;
mod vectors;

use skytide_simnet::bad::Rates;
use skytide_simnet::{Frame, Network, Options};

/// A small network, fast in time, so that much happens in few frames.
fn options(seed: u64, frames: u64) -> Options {
    Options {
        seed,
        accounts: 300,
        rate: 20.0,
        events_max: Some(frames),
        ..Options::default()
    }
}

fn with_bad(seed: u64, frames: u64, per_million: u32) -> Options {
    Options {
        bad: Rates::all(per_million),
        ..options(seed, frames)
    }
}

fn frames(options: Options) -> impl Iterator<Item = Frame> {
    let mut network = Network::new(options);
    std::iter::from_fn(move || network.next_frame())
}
