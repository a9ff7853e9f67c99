//! Plans every fault of connections, once an hour.

use std::ops::Range;

use skytide_simnet::Frame;
use skytide_simnet::bad::Kind;
use skytide_simnet::faults::{Fault, Plan};
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
/// Most faults may occur anywhere. For three of them the stream itself would lose something in some
/// places:
/// - [`Fault::Reset`] loses frames in transit. A frame without a `seq` is not sent again to a
///   client that resumes from the preceding `seq`. So the connection must be a new one that has
///   carried only frames with a `seq`.
/// - [`Fault::Oversized`] makes the client disconnect at once. Some more frames are sent to nobody,
///   and a fault that is planned there would have no effect.
/// - [`Fault::SeqReset`]: a client that reconnects with a `seq` of the old numbering receives
///   `FutureCursor`. A frame that is sent twice before 32 frames have shown that the numbering is
///   new counts as evidence against a new numbering. So, from where the network may already use the
///   new numbers until the decision, no connection ends and every frame has a `seq` and is whole.
pub fn plan(frames: &[Frame], hours: usize) -> Plan {
    let mut plan = Plan::default();
    let length = frames.len() / hours;
    for hour in 0..hours {
        let renumbered = quiet(frames, hour * length + 2 * length / 3..(hour + 1) * length);
        let end = renumbered.unwrap_or((hour + 1) * length) - AHEAD - APART;
        let mut place = hour * length + 2 * APART;
        for fault in Fault::ALL {
            place = match fault {
                Fault::SeqReset => {
                    if let Some(renumbered) = renumbered {
                        plan = plan.anywhere(renumbered as u64, fault);
                    }
                    place
                }
                Fault::Oversized => {
                    plan = plan.anywhere(end as u64, fault);
                    place
                }
                Fault::Reset => {
                    let fresh = calm(frames, place..end).expect("some frames with numbers");
                    plan = plan
                        .anywhere(fresh as u64, Fault::Close)
                        .anywhere((fresh + ON_THE_WAY) as u64, fault);
                    fresh + ON_THE_WAY + APART
                }
                _ => {
                    plan = plan.anywhere(place as u64, fault);
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
    let ends = |frame: &Frame| frame.bad == Some(Kind::ErrorFrame);
    places.end -= UNDECIDED;
    places.find(|&place| {
        frames[place].bad.is_none()
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
