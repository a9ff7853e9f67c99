//! What a tick remembers of the relays that were read: where each was left, and what was not read in between.
//!
//! A relay is a *source* with a numbering of its own. The log has one source at a time. When reading changes to another one,
//! the position in the previous one stays in every later tick, so that reading can return to it after a restart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Host;
use crate::id::Cursor;
use crate::time::Timestamp;

/// Other sources whose position a tick remembers, at most. The one that was left first is forgotten first.
pub const OTHER_SOURCES_MAX: usize = 16;
/// Gaps in one tick, at most. Later gaps of the same tick extend the last one.
pub const TICK_GAPS_MAX: usize = 16;

/// What a tick remembers beside the position of its own source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Where the other sources were left.
    pub others: BTreeMap<Host, SourcePosition>,
    /// Reading has stopped being complete here, and no frame has come since.
    pub open_gap: Option<OpenGap>,
    /// Stretches of network time that may be incomplete and that ended in this epoch.
    pub gaps: Vec<Gap>,
    /// `FIREHOSE_CURSOR_RESET=once` was applied, and has been set in every start since.
    pub cursor_reset: bool,
}

/// Where a source was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The newest `seq` whose events are all in the log; 0: none.
    pub cursor: Cursor,
    /// Frames read from it, from the first ever.
    pub frames: u64,
    /// Network time when it was left.
    pub time: Timestamp,
}

/// A stretch of network time that may be incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Network time of the last frame before it.
    pub from: Timestamp,
    /// Time of the first frame after it; never before `from`.
    pub to: Timestamp,
    /// Why.
    pub cause: GapCause,
}

/// The beginning of a gap whose end has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OpenGap {
    /// Network time of the last frame before it.
    pub from: Timestamp,
    /// Why.
    pub cause: GapCause,
}

/// Why a stretch of the stream may be incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// Reading changed to a relay that was never read before.
    NewSource,
    /// The position in the relay's stream was abandoned (`FIREHOSE_CURSOR_RESET`).
    CursorReset,
    /// The relay has no frames any more from where reading had stopped.
    OutdatedCursor,
    /// A message was larger than the protocol allows.
    MessageSize,
}

impl GapCause {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NewSource,
        Self::CursorReset,
        Self::OutdatedCursor,
        Self::MessageSize,
    ];

    /// The word in ticks and counters.
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
    /// Remembers where a source was left.
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

    /// Adds a gap.
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
    fn what_a_tick_remembers_is_bounded() {
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
