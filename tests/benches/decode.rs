//! How fast one core reads frames, beside the bare hash of the same bytes and beside other readers.
//!
//! ```text
//! bytes ─ frame::decode ─ record::parse ─▶ facts, dropped at once
//! ```
//!
//! Every row reads all frames of a recording, held in memory, over and over; a run takes at least
//! [`RUN_MS_MIN`], and the table shows the median of [`RUNS`] runs with the slowest and the fastest. An event is an
//! operation, or a frame of another type.

mod alternatives;
mod frames;

use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2::Digest;
use skytide_core::record;
use skytide_ingest::car::Car;
use skytide_ingest::frame::{self, Frame, Verify};

const RUNS: usize = 7;
const RUN_MS_MIN: u64 = 400;

/// Measures and prints the table.
pub fn run() {
    for (name, frames) in [
        ("pds.frames", frames::pds()),
        ("relay-2026-07-04", frames::relay()),
    ] {
        let records = blocks(&frames, true);
        let all = blocks(&frames, false);
        let bytes: usize = frames.iter().map(Vec::len).sum();
        let events: u64 = frames
            .iter()
            .map(|frame| decode(frame, Verify::Records))
            .sum();
        println!(
            "\n{name}: {} frames, {events} events, {bytes} bytes, one core",
            frames.len()
        );
        println!(
            "{:<52}{:>12}{:>24}{:>10}",
            "", "events/s", "slowest..fastest", "MB/s"
        );
        let row = |label: &str, pass: &mut dyn FnMut()| {
            let rates = rates(events, pass);
            let (slowest, fastest) = (rates[0], rates[RUNS - 1]);
            let rate = rates[RUNS / 2];
            let megabytes = rate / events as f64 * bytes as f64 / 1e6;
            println!("{label:<52}{rate:>12.0}{slowest:>12.0}..{fastest:<10.0}{megabytes:>10.0}");
            rate
        };
        let over = |read: fn(&[u8]) -> u64| {
            let frames = &frames;
            move || {
                frames.iter().for_each(|frame| {
                    black_box(read(frame));
                })
            }
        };

        row(
            "frames to facts, CIDs of used records",
            &mut over(|frame| decode(frame, Verify::Records)),
        );
        let checked = row(
            "frames to facts, CIDs of all blocks",
            &mut over(|frame| decode(frame, Verify::Blocks)),
        );
        row("SHA-256 alone, used records, ring", &mut || {
            records.iter().for_each(ring_hash)
        });
        let bare = row("SHA-256 alone, all blocks, ring", &mut || {
            all.iter().for_each(ring_hash)
        });
        row("SHA-256 alone, used records, sha2", &mut || {
            records.iter().for_each(sha2_hash)
        });
        row("SHA-256 alone, all blocks, sha2", &mut || {
            all.iter().for_each(sha2_hash)
        });
        row(
            "ciborium values, CIDs of used records",
            &mut over(alternatives::ciborium_values),
        );
        row(
            "serde_ipld_dagcbor typed, CIDs of used records",
            &mut over(alternatives::ipld_typed),
        );
        println!(
            "all blocks checked: {:.0} % of the bare hash",
            100.0 * checked / bare
        );
    }
}

/// Events per second of each run, sorted.
fn rates(events: u64, pass: &mut dyn FnMut()) -> Vec<f64> {
    pass();
    let mut rates: Vec<f64> = (0..RUNS).map(|_| one_rate(events, pass)).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn one_rate(events: u64, pass: &mut dyn FnMut()) -> f64 {
    let (start, mut passes) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(RUN_MS_MIN) {
        pass();
        passes += 1;
    }
    (events * passes) as f64 / start.elapsed().as_secs_f64()
}

/// Reads one frame to typed facts; how many events it had.
fn decode(bytes: &[u8], verify: Verify) -> u64 {
    match frame::decode(bytes, verify) {
        Ok(Frame::Commit(commit)) => {
            for op in &commit.ops {
                if let Some(bytes) = op.record {
                    let _ = black_box(record::parse(op.collection, bytes));
                }
            }
            commit.ops.len() as u64
        }
        other => {
            let _ = black_box(other);
            1
        }
    }
}

/// The blocks of all frames: those that operations use, or all.
fn blocks(frames: &[Vec<u8>], used: bool) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    for bytes in frames {
        let Ok(Frame::Commit(commit)) = frame::decode(bytes, Verify::Records) else {
            continue;
        };
        if used {
            blocks.extend(
                commit
                    .ops
                    .iter()
                    .filter_map(|op| op.record.map(<[u8]>::to_vec)),
            );
        } else {
            let car = Car::open(alternatives::blocks_of(bytes))
                .into_iter()
                .flatten();
            blocks.extend(car.map(|block| block.expect("a readable CAR").data.to_vec()));
        }
    }
    blocks
}

fn ring_hash(block: &Vec<u8>) {
    black_box(ring::digest::digest(&ring::digest::SHA256, block));
}

fn sha2_hash(block: &Vec<u8>) {
    black_box(sha2::Sha256::digest(block));
}
