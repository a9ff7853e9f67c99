//! The expected content and counters of a log whose connections had faults.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::Event;
use skytide_core::id::Cursor;
use skytide_simnet::faults::{Fault, FaultPlan};
use skytide_simnet::{Frame, Totals};

/// The events of all frames, with the numbers that the relay gave them.
pub fn events(frames: &[Frame], plan: &FaultPlan) -> Vec<Event> {
    let renumbered = plan.planned.iter().filter(|it| it.fault == Fault::SeqReset);
    let renumbered: BTreeSet<u64> = renumbered.map(|it| it.frames).collect();
    let (mut events, mut lower) = (Vec::new(), 0);
    for (place, frame) in (0..).zip(frames) {
        if renumbered.contains(&place) {
            lower = frame.seq - 1;
        }
        events.extend(frame.events.iter().map(|event| Event {
            seq: Cursor(event.seq.0 - lower),
            ..event.clone()
        }));
    }
    events
}

/// What must be counted: what the network says of its frames, and one by one what was planned. Without `frame_bytes`, as
/// a number of fewer digits has fewer bytes.
pub fn counters(frames: &[Frame], plan: &FaultPlan) -> BTreeMap<String, u64> {
    let mut totals = Totals::default();
    frames.iter().for_each(|frame| totals.add(frame));
    let mut counters = totals.by_name().clone();
    counters.remove("frame_bytes");
    let planned = planned(plan);
    let planned = planned.iter().flat_map(|(fault, times)| {
        let names = counted(*fault).iter();
        names.map(|name| ((*name).to_owned(), *times))
    });
    let errors = frames.iter().filter(|frame| frame.expected.error.is_some());
    let lost = ("disconnects".to_owned(), errors.count() as u64);
    for (name, more) in planned.chain([lost]).filter(|(_, more)| *more > 0) {
        *counters.entry(name).or_default() += more;
    }
    counters
}

/// The counters that one occurrence of a fault increments by one.
pub fn counted(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::Stall | Fault::Quiet | Fault::Reset | Fault::Drop | Fault::Close => &["disconnects"],
        // No connection was established.
        Fault::Http429 | Fault::Http500 | Fault::Http503 | Fault::Html => &[],
        Fault::FutureCursor => &[
            "frames",
            "frames/error",
            "dropped/frame_error",
            "error/FutureCursor",
            "disconnects",
        ],
        Fault::ConsumerTooSlow => &[
            "frames",
            "frames/error",
            "dropped/frame_error",
            "error/ConsumerTooSlow",
            "disconnects",
        ],
        Fault::TypedError => &[
            "frames",
            "frames/error",
            "dropped/frame_error",
            "error/other",
            "disconnects",
        ],
        // It is received and discarded: only a message beyond the socket's limit ends a connection.
        Fault::Oversized => &["frames", "frames/unreadable", "dropped/frame_size"],
        Fault::Garbage => &["frames", "frames/unreadable", "dropped/frame_cbor"],
        Fault::Text => &["frames", "frames/unreadable", "dropped/frame_text"],
        Fault::SeqReset => &["resets"],
    }
}

/// How often a plan does each thing.
pub fn planned(plan: &FaultPlan) -> BTreeMap<Fault, u64> {
    let mut planned = BTreeMap::new();
    for step in &plan.planned {
        *planned.entry(step.fault).or_default() += 1;
    }
    planned
}
