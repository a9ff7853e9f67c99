//! Inputs and outputs of the assembler.

use bytes::Bytes;
use skytide_core::event::{DropReason, Gap, Host, Message, Tick};
use skytide_core::id::Cursor;

use super::counts::Counts;
use super::filter::Filter;
use crate::frame::Verify;

/// The configuration of an [`Assembler`](super::Assembler).
#[derive(Clone, Debug)]
pub struct Setup {
    /// The stream's name.
    pub host: Host,
    /// Names that earlier versions gave to the same stream.
    pub former_hosts: Vec<Host>,
    /// Whether to discard the position in this stream, unless the newest tick records that it was
    /// discarded already.
    pub cursor_reset: bool,
    /// Whether the stream is live. Its time then never passes the machine's clock.
    pub live: bool,
    /// How much of a frame is checked by hash.
    pub verify: Verify,
    /// The collections and accounts that are read.
    pub filter: Filter,
    /// An epoch ends after the frame that brings it to this many events.
    pub tick_events_max: usize,
    /// A live stream is idle after this many consecutive ticks without events.
    pub pause_ticks: u32,
}

/// A position in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The `seq` of the newest applied frame.
    pub cursor: Option<Cursor>,
    /// Number of frames read from this stream, over all starts.
    pub frames: u64,
}

impl Position {
    /// The position that a tick of the same stream records.
    pub fn of(tick: &Tick) -> Self {
        Self {
            cursor: (tick.cursor.0 > 0).then_some(tick.cursor),
            frames: tick.frames,
        }
    }
}

/// One finished epoch: its events, then its tick.
#[derive(Debug)]
pub struct Cut {
    /// The messages. Never empty: the last one is the tick.
    pub messages: Vec<Message>,
    /// The tick that is the last message.
    pub tick: Tick,
    /// The counts of this epoch.
    pub counts: Counts,
}

/// An occurrence that the caller should log or act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A frame was dropped, in whole or in part. Reported at most 10 times per reason.
    Dropped {
        /// The reason.
        reason: DropReason,
        /// The frame.
        frame: Bytes,
    },
    /// The relay reported an error and will close the connection.
    Error {
        /// The name of the error.
        name: String,
        /// The text of the error.
        message: String,
    },
    /// The relay sent a note about the stream.
    Info {
        /// The name of the note.
        name: String,
        /// The text of the note.
        message: String,
    },
    /// An interval of time may be incomplete.
    Gap(Gap),
    /// The relay's numbering restarted.
    Reset {
        /// The newest `seq` before the restart.
        before: Option<Cursor>,
        /// The newest `seq` after the restart.
        after: Option<Cursor>,
    },
}
