//! What a frame says of its place in the stream.

use skytide_core::id::{Cursor, Did, Tid};
use skytide_core::time::Timestamp;

use crate::frame::{Frame, Verify, decode};

/// Before 2020 there was no such stream: a clock that says so was never set.
const TIME_MIN: Timestamp = Timestamp(1_577_836_800_000);

/// Place and time of a frame, as it claims.
#[derive(Clone, Debug)]
pub(super) struct FrameMeta {
    pub(super) seq: Cursor,
    /// `None`: missing or not readable.
    pub(super) time: Option<Timestamp>,
    /// Whether it is of a type whose frames have a time.
    pub(super) is_timed: bool,
    /// The time in its revision.
    pub(super) rev: Option<Timestamp>,
    /// Its account.
    pub(super) did: Option<Did>,
}

impl FrameMeta {
    /// The time that it claims in one way or the other.
    pub(super) fn claimed(&self) -> Option<Timestamp> {
        self.time.or(self.rev)
    }
}

/// Of a frame, if it is a whole one and has a place in the stream.
pub(super) fn meta_of(bytes: &[u8]) -> Option<FrameMeta> {
    let frame = decode(bytes, Verify::Records).ok()?;
    let mut meta = meta(&frame)?;
    meta.did = did(&frame).cloned();
    Some(meta)
}

/// The number that a message has in its stream, whatever else is wrong with it.
pub(crate) fn seq_of(bytes: &[u8]) -> Option<Cursor> {
    match decode(bytes, Verify::Records) {
        Ok(frame) => meta(&frame).map(|meta| meta.seq),
        Err(rejected) => rejected.seq,
    }
}

/// Place and time of a frame that has a place in the stream, without its account.
pub(super) fn meta(frame: &Frame<'_>) -> Option<FrameMeta> {
    let (seq, time, rev) = match frame {
        Frame::Commit(commit) => (commit.seq, commit.time, Some(commit.rev)),
        Frame::Sync { seq, time, rev, .. } => (*seq, *time, Some(*rev)),
        Frame::Identity { seq, time, .. } | Frame::Account { seq, time, .. } => (*seq, *time, None),
        Frame::Unknown { seq, .. } => ((*seq)?, "", None),
        Frame::Info { .. } | Frame::Error { .. } => return None,
    };
    Some(FrameMeta {
        seq,
        time: parse_time(time),
        is_timed: !matches!(frame, Frame::Unknown { .. }),
        rev: rev.map(rev_time).filter(|time| *time >= TIME_MIN),
        did: None,
    })
}

/// The time that a frame gives, if it can be read and be true.
pub(super) fn parse_time(time: &str) -> Option<Timestamp> {
    Timestamp::parse(time).filter(|time| *time >= TIME_MIN)
}

/// The account that a frame is about.
pub(super) fn did<'a>(frame: &'a Frame<'_>) -> Option<&'a Did> {
    match frame {
        Frame::Commit(commit) => Some(&commit.did),
        Frame::Identity { did, .. } | Frame::Account { did, .. } | Frame::Sync { did, .. } => {
            Some(did)
        }
        Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown { .. } => None,
    }
}

fn rev_time(rev: Tid) -> Timestamp {
    Timestamp(rev.micros() / 1_000)
}
