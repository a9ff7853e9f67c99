//! A message of the relay with its ground truth.

use bytes::Bytes;
use skytide_core::event::Event;
use skytide_core::id::Did;
use skytide_core::time::Timestamp;

use crate::content::Content;
use crate::expected::Expected;
use crate::malformed::Kind;

/// A message of the relay with its ground truth.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its sequence number. A message without one of its own (garbage, `#info`, a repetition)
    /// belongs after the previous frame and has that frame's number.
    pub seq: u64,
    /// Network time at which it is sent. Never decreases.
    pub time: Timestamp,
    /// One WebSocket message.
    pub bytes: Bytes,
    /// The account that it concerns, if it has content.
    pub did: Option<Did>,
    /// The events that a correct consumer writes to its log, if it reads from the first frame.
    pub events: Vec<Event>,
    /// For each event, the content of its record; [`Content::Unknown`] for an event without a
    /// record.
    pub contents: Vec<Content>,
    /// The kind of malformed input, if it is one.
    pub malformed: Option<Kind>,
    /// The counts that a correct consumer reports for it.
    pub expected: Expected,
}
