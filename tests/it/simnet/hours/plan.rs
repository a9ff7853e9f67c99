//! Plans every fault of connections, once an hour.

use std::ops::Range;

use skytide_simnet::Frame;
use skytide_simnet::faults::{Fault, FaultPlan};
use skytide_simnet::malformed::Kind;
use skytide_simnet::server::Limits;

/// A send window so small that the network is never far ahead of its reader.
pub const WINDOW: Limits = Limits {
    frames_max: 1_024,
    bytes_max: 256 << 20,
};

/// How many frames the network may be ahead: half a window plus what it generates and sends at a
/// time.
const AHEAD: usize = WINDOW.frames_max / 2 + 16 + 2 * 128;
/// Number of frames between two faults.
const APART: usize = 50;
/// Number of frames that a reset may lose in transit.
const ON_THE_WAY: usize = 48;
/// Number of frames after a renumbering until it is certainly detected: 32 of them decide.
const UNDECIDED: usize = 40;

/// Plans each fault once an hour. Renumberings are fewer, because not every hour has a place for
/// one.
///
/// Most faults may occur anywhere. Three may not, because the stream itself would lose frames:
/// - [`Fault::Reset`] drops the frames that are in flight. A frame without a number is not sent
///   again to a client whose cursor is the number before it. So the fault follows a new connection
///   on which all frames had a number.
/// - [`Fault::Oversized`] is the last fault of an hour: a client that disconnects at it would skip
///   the faults that are planned soon after.
/// - [`Fault::SeqReset`]: a client that reconnects with an old number receives `FutureCursor`, and
///   a frame that is sent twice before 32 frames have confirmed the new numbers counts as evidence
///   against them. So no connection ends, and only frames with a number follow, from the position
///   where the network may use the new numbers until ingest has decided.
pub fn plan(frames: &[Frame], hours: usize) -> FaultPlan {
    let mut plan = FaultPlan::default();
    let length = frames.len() / hours;
    for hour in 0..hours {
        let renumbered = quiet(frames, hour * length + 2 * length / 3..(hour + 1) * length);
        let end = renumbered.unwrap_or((hour + 1) * length) - AHEAD - APART;
        let mut place = hour * length + 2 * APART;
        for fault in Fault::ALL {
            place = match fault {
                Fault::SeqReset => {
                    if let Some(renumbered) = renumbered {
                        plan = plan.on_any_connection(renumbered as u64, fault);
                    }
                    place
                }
                Fault::Oversized => {
                    plan = plan.on_any_connection(end as u64, fault);
                    place
                }
                Fault::Reset => {
                    let fresh = calm(frames, place..end).expect("some frames with numbers");
                    plan = plan
                        .on_any_connection(fresh as u64, Fault::Close)
                        .on_any_connection((fresh + ON_THE_WAY) as u64, fault);
                    fresh + ON_THE_WAY + APART
                }
                _ => {
                    plan = plan.on_any_connection(place as u64, fault);
                    place + APART
                }
            };
        }
        assert!(place < end, "an hour has too few frames");
    }
    plan
}

/// The first place at which the numbers may restart.
fn quiet(frames: &[Frame], mut places: Range<usize>) -> Option<usize> {
    let ends = |frame: &Frame| frame.malformed == Some(Kind::ErrorFrame);
    places.end -= UNDECIDED;
    places.find(|&place| {
        frames[place].malformed.is_none()
            && all_numbered(&frames[place..place + UNDECIDED])
            && !frames[place - AHEAD..place].iter().any(ends)
    })
}

/// The first place from which all frames up to a reset are numbered and whole.
fn calm(frames: &[Frame], mut places: Range<usize>) -> Option<usize> {
    places.find(|&place| all_numbered(&frames[place..=place + ON_THE_WAY]))
}

/// Whether every frame has a number and is whole.
fn all_numbered(frames: &[Frame]) -> bool {
    frames.iter().all(|frame| !frame.events.is_empty())
}
