//! What goes into the assembler and comes out of it.

use bytes::Bytes;
use skytide_core::event::{DropReason, Gap, Host, Message, Tick};
use skytide_core::id::Cursor;

use super::counts::Counts;
use super::filter::Filter;
use crate::frame::Verify;

/// What an [`Assembler`](super::Assembler) needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The stream's name.
    pub host: Host,
    /// Names that earlier versions gave to the same stream.
    pub former_hosts: Vec<Host>,
    /// Whether the position in this stream is abandoned, unless the newest tick says that this was done.
    pub cursor_reset: bool,
    /// Whether the stream goes on by itself: its time is then never ahead of our clock.
    pub live: bool,
    /// How much of a frame is checked by hash.
    pub verify: Verify,
    /// What is read.
    pub filter: Filter,
    /// An epoch ends after the frame that brings it to this many events.
    pub tick_events_max: usize,
    /// So many ticks in a row without events are a pause of a live stream.
    pub pause_ticks: u32,
}

/// How far a stream was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The newest number applied.
    pub cursor: Option<Cursor>,
    /// Frames read from the first ever.
    pub frames: u64,
}

impl Position {
    /// What a tick of the same stream says.
    pub fn of(tick: &Tick) -> Self {
        Self {
            cursor: (tick.cursor.0 > 0).then_some(tick.cursor),
            frames: tick.frames,
        }
    }
}

/// One whole epoch: its events, then its tick.
#[derive(Debug)]
pub struct Cut {
    /// Never empty: the tick is the last one.
    pub messages: Vec<Message>,
    /// The same tick.
    pub tick: Tick,
    /// What was counted in it.
    pub counts: Counts,
}

/// Something that the caller should do or tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A frame was dropped, in whole or in part; told a few times for each reason.
    Dropped {
        /// Why.
        reason: DropReason,
        /// The frame.
        frame: Bytes,
    },
    /// The relay reports an error and will close.
    Error {
        /// Which.
        name: String,
        /// Its text.
        message: String,
    },
    /// The relay tells something about the stream.
    Info {
        /// What.
        name: String,
        /// Its text.
        message: String,
    },
    /// A stretch of time may be incomplete.
    Gap(Gap),
    /// The relay's numbers began anew.
    Reset {
        /// The newest number before.
        before: Option<Cursor>,
        /// The newest number now.
        after: Option<Cursor>,
    },
}
