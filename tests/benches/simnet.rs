//! How fast one core generates a network: signed, unsigned, and skipping.
//!
//! Each row generates frames for [`TURN`]. The rows take turns for [`ROUNDS`] rounds; the table
//! shows the median, the slowest and the fastest.

use std::time::{Duration, Instant};

use skytide_simnet::{Network, Options};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(2);

/// Runs the benchmark and prints the table.
pub fn run() {
    let network = |signed| {
        Network::new(Options {
            accounts: 20_000,
            signed,
            ..Options::default()
        })
    };
    let start = Instant::now();
    let mut signed = network(true);
    println!(
        "\nsimnet: 20,000 signed accounts made in {:.2?}",
        start.elapsed()
    );
    let (mut unsigned, mut skipped) = (network(false), network(true));
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        rates[0].push(turn(|| {
            bytes += frames(&mut signed, 500);
            500
        }));
        rates[1].push(turn(|| {
            frames(&mut unsigned, 500);
            500
        }));
        rates[2].push(turn(|| {
            let seq = skipped.peek_seq().expect("an endless network");
            skipped.skip_to(seq + 50_000);
            50_000
        }));
    }
    println!(
        "{:<24}{:>12}{:>12}{:>12}",
        "frames/s, one core", "median", "slowest", "fastest"
    );
    for (label, mut rates) in ["signed", "unsigned", "skipped"].into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        let (median, slowest, fastest) = (rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
        println!("{label:<24}{median:>12.0}{slowest:>12.0}{fastest:>12.0}");
    }
    println!("{bytes} bytes of signed frames");
}

fn frames(network: &mut Network, count: u64) -> usize {
    (0..count)
        .map(|_| {
            network
                .next_frame()
                .expect("an endless network")
                .bytes
                .len()
        })
        .sum()
}

fn turn(mut step: impl FnMut() -> u64) -> f64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TURN {
        count += step();
    }
    count as f64 / start.elapsed().as_secs_f64()
}
