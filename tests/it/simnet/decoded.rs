//! Ingest of the network's frames must produce exactly what the network expects.

use std::collections::BTreeMap;

use skytide_core::event::{DropReason, Event, Message};
use skytide_ingest::assemble::filter::Filter;
use skytide_ingest::assemble::{Assembler, Setup};
use skytide_ingest::frame::Verify;
use skytide_simnet::malformed::Kind;
use skytide_simnet::{Frame, Options, Totals};

use super::{frames, options, with_bad};

/// Drops that the dataflow counts, as only it knows what is live and what a record says.
const LATER: [DropReason; 11] = [
    DropReason::RevRepeated,
    DropReason::AnnouncementRepeated,
    DropReason::RecordMissing,
    DropReason::RecordCbor,
    DropReason::RecordShape,
    DropReason::KeyLength,
    DropReason::ListLimit,
    DropReason::LangSyntax,
    DropReason::Handle,
    DropReason::OpCid,
    DropReason::DeleteUnknown,
];

/// Whether the counter measures gaps in network time, which the plan of a network does not state.
pub(super) fn is_coverage(name: &str) -> bool {
    name.starts_with("coverage_gap")
}

/// Whether the dataflow adds to this counter.
pub(super) fn is_later(name: &str) -> bool {
    let reason = name.strip_prefix("dropped/");
    reason.is_some_and(|reason| LATER.iter().any(|it| it.as_str() == reason))
}

/// The log that ingest writes.
pub(super) fn messages(frames: &[Frame], options: &Options) -> Vec<Message> {
    let setup = Setup {
        former_hosts: Vec::new(),
        cursor_reset: false,
        host: options.host.clone(),
        verify: Verify::Blocks,
        filter: Filter::default(),
        tick_events_max: 500,
        pause_ticks: 3,
        live: false,
    };
    let mut assembler = Assembler::new(setup, None);
    for frame in frames {
        assembler.frame(frame.bytes.clone());
    }
    assembler.tick(true);
    let cuts = assembler.take_cuts().into_iter();
    cuts.flat_map(|cut| cut.messages).collect()
}

/// The events and counters that ingest writes.
fn ingest(frames: &[Frame], options: &Options) -> (Vec<Event>, BTreeMap<String, u64>) {
    let (mut events, mut counts) = (Vec::new(), BTreeMap::new());
    for message in messages(frames, options) {
        match message {
            Message::Event(event) => events.push(event),
            Message::Tick(tick) => {
                for (name, count) in tick.counts {
                    *counts.entry(name.into()).or_default() += count;
                }
            }
        }
    }
    (events, counts)
}

#[track_caller]
fn compare(options: Options) -> Vec<Frame> {
    let frames: Vec<_> = frames(options.clone()).collect();
    let (events, counts) = ingest(&frames, &options);
    let mut totals = Totals::default();
    frames.iter().for_each(|frame| totals.add(frame));
    let mut expected = totals.by_name().clone();
    expected.retain(|name, _| !is_later(name));
    let seed = options.seed;
    for (ours, theirs) in events
        .iter()
        .zip(frames.iter().flat_map(|frame| &frame.events))
    {
        assert_eq!(ours, theirs, "seed {seed}");
    }
    let mut counts = counts;
    counts.retain(|name, _| !is_coverage(name));
    assert_eq!(counts, expected, "seed {seed}");
    frames
}

#[test]
fn a_valid_network_is_read_without_a_drop_and_as_intended() {
    for seed in 1..=2 {
        let frames = compare(options(seed, 6_000));
        let dropped = frames.iter().flat_map(|frame| &frame.expected.drops);
        assert_eq!(dropped.count(), 0, "seed {seed}");
    }
}

#[test]
fn every_kind_of_bad_input_occurs_and_is_counted_as_expected() {
    let mut fired: BTreeMap<Kind, u64> = BTreeMap::new();
    for seed in 3..=5 {
        for frame in compare(with_bad(seed, 6_000, 5_000)) {
            if let Some(kind) = frame.malformed {
                *fired.entry(kind).or_default() += 1;
            }
        }
    }
    let missing: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !fired.contains_key(kind))
        .collect();
    assert!(missing.is_empty(), "never occurred: {missing:?}");
}
