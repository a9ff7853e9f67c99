//! The simulated network, checked by our own decoder and assembler and by published vectors.

mod decoded;
mod habits;
mod hours;
mod network;
mod served;
mod trouble;
mod truth;
mod vectors;

use skytide_simnet::malformed::{Kind, Rates};
use skytide_simnet::{Frame, Network, Options};

/// Options of a small network whose time passes quickly, so that a few frames contain many events.
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
        malformed: Rates::all(per_million),
        ..options(seed, frames)
    }
}

fn frames(options: Options) -> impl Iterator<Item = Frame> {
    let mut network = Network::new(options);
    std::iter::from_fn(move || network.next_frame())
}

#[test]
fn the_page_about_the_network_names_every_kind_of_bad_input() {
    let page = include_str!("../../docs/simnet.md");
    let missing = Kind::ALL.iter().filter_map(|kind| {
        let line = format!("| `{kind}` | {} |", kind.note());
        (!page.lines().any(|other| other == line)).then_some(line)
    });
    let missing: Vec<_> = missing.collect();
    assert!(
        missing.is_empty(),
        "docs/simnet.md lacks:\n{}",
        missing.join("\n")
    );
}
