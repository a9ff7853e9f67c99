//! `coverage` of faulty streams: gaps, filters, drops, missing numbers and jumps of time.

use std::collections::BTreeMap;

use skytide_core::event::{Gap, GapCause, Message, OpenGap, Tick};
use skytide_core::time::Timestamp;
use skytide_core::view::{CoverageKey, CoverageKind, CoverageRow, ViewId, decode_row};
use skytide_tests::model::recount;
use skytide_tests::world::Random;

use super::harness::{Case, seeds};

const HOUR_MS: u64 = 3_600_000;

/// The same log, whose ticks report random faults of the stream, and whose time jumps.
pub fn with_faults(messages: &[Message], seed: u64) -> Vec<Message> {
    let mut random = Random::new(seed ^ 0xfa01);
    let (mut jumped_ms, mut open) = (0, None);
    let mut faulty = messages.to_vec();
    for message in &mut faulty {
        match message {
            Message::Event(event) => event.time.0 += jumped_ms,
            Message::Tick(tick) => {
                tick.time.0 += jumped_ms;
                if random.chance(20) {
                    open = random.chance(60).then(|| OpenGap {
                        from: earlier(&mut random, tick.time),
                        cause: *random.pick(&GapCause::ALL),
                    });
                }
                tick.sources.open_gap = open;
                add_faults(&mut random, tick);
                if random.chance(25) {
                    let hours = *random.pick(&[1, 3, 24, 190, 1_700]);
                    jumped_ms += hours * HOUR_MS + random.below(HOUR_MS);
                }
            }
        }
    }
    faulty
}

/// A time up to three hours before another one.
fn earlier(random: &mut Random, time: Timestamp) -> Timestamp {
    Timestamp(time.0 - random.below(3 * HOUR_MS))
}

fn add_faults(random: &mut Random, tick: &mut Tick) {
    if random.chance(60) {
        for _ in 0..random.below(8) {
            let from = earlier(random, tick.time);
            let to = Timestamp(from.0 + random.below(tick.time.0 - from.0 + 1));
            let cause = match random.chance(70) {
                true => GapCause::MessageSize,
                false => *random.pick(&GapCause::ALL),
            };
            tick.sources.push_gap(Gap { from, to, cause });
        }
    }
    let names = [
        "missing_seqs",
        "dropped/frame_cbor",
        "dropped/filter_collection",
        "dropped/filter_did",
    ];
    for name in names {
        if random.chance(40) {
            let count = 1 + random.below(1_000);
            tick.counts.insert(name.into(), count);
        }
    }
}

#[tokio::test]
async fn coverage_of_a_faulty_stream_equals_the_recount_for_any_workers_and_commits() {
    let mut kinds = BTreeMap::<CoverageKind, usize>::new();
    let mut merged = 0;
    for seed in seeds(20_000) {
        let mut case = Case::of(seed);
        case.options.interactions_days = Some(1);
        let messages = with_faults(&case.world(), seed);
        let expected = recount(&messages, case.options);
        for (workers, epochs_max) in [(1, 1), (2, 1), (2, 7), (4, usize::MAX)] {
            let case = case.with(workers, epochs_max);
            case.compare(&expected, &case.run(&messages).await);
        }
        for (_, rows) in &expected {
            for (key, row) in &rows[&ViewId::Coverage] {
                let key: CoverageKey = key.decode().expect("a key of coverage");
                let row: CoverageRow = decode_row(row).expect("a row of coverage");
                *kinds.entry(key.kind).or_default() += 1;
                merged += usize::from(row.merged > 1);
            }
        }
    }
    assert_eq!(kinds.len(), CoverageKind::ALL.len(), "{kinds:?}");
    assert!(merged > 0, "no interval was merged");
}
