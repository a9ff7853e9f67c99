//! A message of the relay, and all that is known about it.

use bytes::Bytes;
use skytide_core::event::Event;
use skytide_core::id::Did;
use skytide_core::time::Timestamp;

use crate::bad::Kind;
use crate::content::Content;
use crate::truth::Expected;

/// A message of the relay, and all that is known about it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its number in the stream. A message without one of its own (garbage, `#info`, a repetition) has that of the frame
    /// before, behind which it belongs.
    pub seq: u64,
    /// Network time when it is sent; never falls.
    pub time: Timestamp,
    /// One WebSocket message.
    pub bytes: Bytes,
    /// The account that it is about, if it says anything.
    pub did: Option<Did>,
    /// What a correct consumer that reads from the first frame on writes to its log.
    pub events: Vec<Event>,
    /// For each event what its record says; [`Content::Unknown`] for those that bring none.
    pub contents: Vec<Content>,
    /// What is wrong with it.
    pub bad: Option<Kind>,
    /// What must be counted for it.
    pub expected: Expected,
}
