//! Frames to serve: `#identity` events. The server treats all frames alike.

use std::time::Duration;

use skytide_core::port::clock::ManualClock;
use skytide_core::time::Timestamp;
use skytide_simnet::faults::{FaultPlan, Faults};
use skytide_simnet::server::{Options, OutgoingFrame, Pace, PreparedFrames};

/// Start of the streams in these tests: 2026-11-24T09:00:00Z.
pub const START: Timestamp = Timestamp(1_795_510_800_000);

/// The time this many milliseconds after the start.
pub fn at(ms: u64) -> Timestamp {
    Timestamp(START.0 + ms)
}

/// A CBOR text string of fewer than 256 bytes.
fn text(frame: &mut Vec<u8>, text: &str) {
    match text.len() as u8 {
        length @ 0..24 => frame.push(0x60 | length),
        length => frame.extend([0x78, length]),
    }
    frame.extend_from_slice(text.as_bytes());
}

/// An `#identity` with this sequence number, padded to about `bytes` bytes.
pub fn identity(seq: u64, bytes: usize) -> Vec<u8> {
    let mut frame = b"\xa2\x61t\x69#identity\x62op\x01\xa4".to_vec();
    text(&mut frame, "did");
    text(&mut frame, "did:web:a.example");
    text(&mut frame, "seq");
    frame.push(0x1b);
    frame.extend(seq.to_be_bytes());
    text(&mut frame, "time");
    text(&mut frame, "2026-11-24T09:00:00.000Z");
    text(&mut frame, "x");
    let fill = bytes.saturating_sub(frame.len() + 5) as u32;
    frame.push(0x5a);
    frame.extend(fill.to_be_bytes());
    frame.resize(frame.len() + fill as usize, 0x55);
    frame
}

/// The sequence number of such a frame; `None` for another message.
pub fn seq_of(frame: &[u8]) -> Option<u64> {
    let at = frame.windows(4).position(|it| it == b"cseq")? + 4;
    let head = frame.get(at)? & 31;
    let width = match head {
        0..24 => return Some(u64::from(head)),
        _ => 1 << (head - 24),
    };
    let bytes = frame.get(at + 1..at + 1 + width)?;
    Some(
        bytes
            .iter()
            .fold(0, |seq, byte| seq << 8 | u64::from(*byte)),
    )
}

/// The frames 1 to `count`, ten milliseconds apart.
pub fn frames(count: u64) -> PreparedFrames {
    sized(count, 0)
}

/// The same frames, of about `bytes` bytes each.
pub fn sized(count: u64, bytes: usize) -> PreparedFrames {
    PreparedFrames::new((1..=count).map(|seq| OutgoingFrame {
        seq,
        time: Timestamp(START.0 + seq * 10),
        bytes: identity(seq, bytes).into(),
        events: 1,
        malformed: None,
    }))
}

/// A clock at the start of the stream.
pub fn clock() -> std::sync::Arc<ManualClock> {
    let clock = ManualClock::default();
    clock.set(START);
    std::sync::Arc::new(clock)
}

/// As fast as frames are read, with this plan of faults.
pub fn planned(plan: FaultPlan) -> Options {
    Options {
        pace: Pace::Max,
        faults: Faults::new(plan),
        ..Options::default()
    }
}

/// All frames are in the backlog: they are due at once, and then the stream ends.
pub fn at_once() -> Options {
    Options {
        backlog: Duration::from_secs(86_400),
        ..Options::default()
    }
}
