//! How fast one core reads frames, compared with the bare hash of the same bytes and with other
//! decoders.
//!
//! ```text
//! bytes ─ frame::decode ─ record::parse ─▶ facts, dropped at once
//! ```
//!
//! Every row of the table reads all frames of a recording from memory. The rows take turns for
//! [`ROUNDS`] rounds, so that other load on the machine affects all of them equally. The table
//! shows the median, the slowest and the fastest round of each row. An event is an operation, or a
//! frame of another type.

mod alternatives;
mod frames;

use std::hint::black_box;
use std::time::{Duration, Instant};

use frames::Recording;
use sha2::{Digest, Sha256};
use skytide_core::record;
use skytide_ingest::car::Car;
use skytide_ingest::frame::{self, Frame, Verify};

const ROUNDS: usize = 15;
/// Minimum duration of one row in one round.
const TURN_MS_MIN: u64 = 150;

/// A row of the table: its label, and a function that passes over the whole recording once.
type Row<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// Runs the benchmark and prints the tables.
pub fn run() {
    measure("pds.frames", &Recording::pds());
    measure("relay-2026-07-04", &Recording::relay());
}

fn measure(name: &str, recording: &Recording) {
    let bytes: usize = recording.frames().map(<[u8]>::len).sum();
    let events: u64 = recording
        .frames()
        .map(|frame| decode(frame, Verify::Records))
        .sum();
    let (used, all) = (used_blocks(recording), all_blocks(recording));
    let over = |read: fn(&[u8]) -> u64| -> Box<dyn Fn() + '_> {
        Box::new(move || {
            black_box(recording.frames().map(read).sum::<u64>());
        })
    };
    let rows: [Row<'_>; 8] = [
        (
            "frames to facts, used records' CIDs",
            over(|frame| decode(frame, Verify::Records)),
        ),
        (
            "frames to facts, all blocks' CIDs",
            over(|frame| decode(frame, Verify::Blocks)),
        ),
        (
            "SHA-256 alone (sha2), used records",
            Box::new(|| used.iter().for_each(sha2_hash)),
        ),
        (
            "SHA-256 alone (sha2), all blocks",
            Box::new(|| all.iter().for_each(sha2_hash)),
        ),
        (
            "SHA-256 alone (ring), used records",
            Box::new(|| used.iter().for_each(ring_hash)),
        ),
        (
            "SHA-256 alone (ring), all blocks",
            Box::new(|| all.iter().for_each(ring_hash)),
        ),
        (
            "ciborium values, used records' CIDs",
            over(alternatives::ciborium_values),
        ),
        (
            "serde_ipld_dagcbor typed, used records' CIDs",
            over(alternatives::ipld_typed),
        ),
    ];
    let count = recording.frames().len();
    println!("\n{name}: {count} frames, {events} events, {bytes} bytes, one core");
    println!(
        "{:<46}{:>10}{:>10}{:>10}{:>8}",
        "events/s", "median", "slowest", "fastest", "MB/s"
    );
    let medians: Vec<f64> = rounds(events, &rows)
        .into_iter()
        .zip(&rows)
        .map(|(mut rates, (label, _))| {
            rates.sort_by(f64::total_cmp);
            let (median, slowest, fastest) = (rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
            let megabytes = median / events as f64 * bytes as f64 / 1e6;
            println!("{label:<46}{median:>10.0}{slowest:>10.0}{fastest:>10.0}{megabytes:>8.0}");
            median
        })
        .collect();
    println!(
        "all blocks' CIDs verified: {:.0} % of the bare hash by sha2, {:.0} % of it by ring",
        100.0 * medians[1] / medians[3],
        100.0 * medians[1] / medians[5]
    );
}

/// Events per second of each row in each round.
fn rounds(events: u64, rows: &[Row<'_>]) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, pass), rates) in rows.iter().zip(&mut rates) {
            rates.push(turn(events, pass));
        }
    }
    rates
}

fn turn(events: u64, pass: &dyn Fn()) -> f64 {
    let (start, mut passes) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(TURN_MS_MIN) {
        pass();
        passes += 1;
    }
    (events * passes) as f64 / start.elapsed().as_secs_f64()
}

/// Decodes one frame to typed facts; returns its number of events.
fn decode(bytes: &[u8], verify: Verify) -> u64 {
    let Ok(Frame::Commit(commit)) = black_box(frame::decode(bytes, verify)) else {
        return 1;
    };
    for op in &commit.ops {
        let _ = black_box(op.record.map(|bytes| record::parse(op.collection, bytes)));
    }
    commit.ops.len() as u64
}

/// The blocks that operations refer to.
fn used_blocks(recording: &Recording) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    for bytes in recording.frames() {
        if let Ok(Frame::Commit(commit)) = frame::decode(bytes, Verify::Records) {
            blocks.extend(commit.ops.iter().filter_map(|op| op.record));
        }
    }
    blocks
}

/// All blocks of commits.
fn all_blocks(recording: &Recording) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    for bytes in recording.frames() {
        if let Ok(car) = Car::open(alternatives::blocks_of(bytes)) {
            blocks.extend(car.map(|block| block.expect("an intact CAR").data));
        }
    }
    blocks
}

fn ring_hash(block: &&[u8]) {
    black_box(ring::digest::digest(&ring::digest::SHA256, block));
}

fn sha2_hash(block: &&[u8]) {
    black_box(Sha256::digest(block));
}
