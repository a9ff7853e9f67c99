//! The part of a tick about sources: the position in each relay that was read before, and the gaps
//! in the input.
//!
//! A relay is a *source* with its own sequence numbers. The log has one current source. When ingest
//! switches to another source, every later tick still contains the position in the previous one, so
//! ingest can resume there even after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Host;
use crate::id::Cursor;
use crate::time::Timestamp;

/// Maximum number of other sources in one tick. If there are more, the source that was left first
/// is removed.
pub const OTHER_SOURCES_MAX: usize = 16;
/// Maximum number of gaps in one tick. A further gap extends the last one instead.
pub const TICK_GAPS_MAX: usize = 16;

/// The part of a tick about other sources and gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Positions in the sources that were read before the current one.
    pub others: BTreeMap<Host, SourcePosition>,
    /// A gap that has started and not ended: no frame has arrived since.
    pub open_gap: Option<OpenGap>,
    /// The gaps that ended in this epoch.
    pub gaps: Vec<Gap>,
    /// Whether `FIREHOSE_CURSOR_RESET=once` was applied and has been set at every start since. It
    /// has no further effect then.
    pub cursor_reset: bool,
}

/// The position in a source at which reading stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The greatest `seq` up to which all events are in the log; 0 if there is none.
    pub cursor: Cursor,
    /// Number of frames read from the source, over all starts.
    pub frames: u64,
    /// Network time at which reading stopped.
    pub time: Timestamp,
}

/// An interval of network time in which events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Network time of the last frame before the gap.
    pub from: Timestamp,
    /// Time of the first frame after the gap; never before `from`.
    pub to: Timestamp,
    /// The cause of the gap.
    pub cause: GapCause,
}

/// The start of a gap that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenGap {
    /// Network time of the last frame before the gap.
    pub from: Timestamp,
    /// The cause of the gap.
    pub cause: GapCause,
}

/// Why events of an interval may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// Ingest switched to a relay that was never read before.
    NewSource,
    /// The position in the relay's stream was discarded (`FIREHOSE_CURSOR_RESET`).
    CursorReset,
    /// The relay no longer has the frames that follow the stored position.
    OutdatedCursor,
    /// A message was larger than the protocol allows.
    MessageSize,
}

impl GapCause {
    /// All causes.
    pub const ALL: [Self; 4] = [
        Self::NewSource,
        Self::CursorReset,
        Self::OutdatedCursor,
        Self::MessageSize,
    ];

    /// The name in ticks and counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewSource => "new_source",
            Self::CursorReset => "cursor_reset",
            Self::OutdatedCursor => "outdated_cursor",
            Self::MessageSize => "message_size",
        }
    }
}

impl Sources {
    /// Records the position at which reading of a source stopped.
    pub fn leave(&mut self, host: Host, position: SourcePosition) {
        self.others.insert(host, position);
        while self.others.len() > OTHER_SOURCES_MAX {
            let oldest = self.others.iter().min_by_key(|(_, left)| left.time);
            let Some(host) = oldest.map(|(host, _)| host.clone()) else {
                return;
            };
            self.others.remove(&host);
        }
    }

    /// Adds a gap that ended in this epoch.
    pub fn push_gap(&mut self, gap: Gap) {
        let full = self.gaps.len() >= TICK_GAPS_MAX;
        match self.gaps.last_mut().filter(|_| full) {
            Some(last) => last.to = last.to.max(gap.to),
            None => self.gaps.push(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_gaps_of_a_tick_are_bounded() {
        let mut sources = Sources::default();
        for n in 0..100_u64 {
            let time = Timestamp(n);
            let position = SourcePosition {
                time,
                ..SourcePosition::default()
            };
            sources.leave(format!("relay-{n:03}.example").into(), position);
            let cause = GapCause::MessageSize;
            sources.push_gap(Gap {
                from: time,
                to: time,
                cause,
            });
        }
        assert_eq!(sources.others.len(), OTHER_SOURCES_MAX);
        assert!(sources.others.contains_key("relay-099.example"));
        assert_eq!(sources.gaps.len(), TICK_GAPS_MAX);
        assert_eq!(sources.gaps.last().unwrap().to, Timestamp(99));
    }
}
