//! Position, time and account of a frame, as the frame claims them.

use skytide_core::id::{Cursor, Did, Tid};
use skytide_core::time::Timestamp;

use crate::frame::{Frame, Verify, decode};

/// 2020-01-01. No such stream existed before, so an earlier time comes from a clock that was never
/// set.
const TIME_MIN: Timestamp = Timestamp(1_577_836_800_000);

/// Position, time and account of a frame, as the frame claims them.
#[derive(Clone, Debug)]
pub(super) struct FrameMeta {
    pub(super) seq: Cursor,
    /// The time of the frame; `None` if it is missing or not readable.
    pub(super) time: Option<Timestamp>,
    /// Whether frames of this type have a time.
    pub(super) is_timed: bool,
    /// The time in the frame's revision.
    pub(super) rev: Option<Timestamp>,
    /// The frame's account.
    pub(super) did: Option<Did>,
}

impl FrameMeta {
    /// The frame's time, or else the time in its revision.
    pub(super) fn claimed(&self) -> Option<Timestamp> {
        self.time.or(self.rev)
    }
}

/// Decodes a frame. Returns `None` if it is not valid or has no `seq`.
pub(super) fn meta_of(bytes: &[u8]) -> Option<FrameMeta> {
    let frame = decode(bytes, Verify::Records).ok()?;
    let mut meta = meta(&frame)?;
    meta.did = did(&frame).cloned();
    Some(meta)
}

/// The `seq` of a message, even if the message is rejected.
pub(crate) fn seq_of(bytes: &[u8]) -> Option<Cursor> {
    match decode(bytes, Verify::Records) {
        Ok(frame) => meta(&frame).map(|meta| meta.seq),
        Err(rejected) => rejected.seq,
    }
}

/// Position and time of a frame that has a `seq`. The account is left out.
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

/// Parses the time of a frame. Returns `None` if it is not readable or before [`TIME_MIN`].
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
