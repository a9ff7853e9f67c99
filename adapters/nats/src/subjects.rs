//! The names of things on the server, all from the name of the stream.

use std::fmt::Write;

use skytide_core::config::StreamName;
use skytide_core::event::{Body, Event};

/// Partitions of the events, by account: so many subjects a collection. Part of the stored format.
pub const PARTITIONS: u16 = 16;

/// The stream whose subjects have no prefix.
const DEFAULT_STREAM: &str = "skytide";

/// The names of things on the server.
#[derive(Clone, Debug)]
pub struct Subjects {
    stream: String,
    /// What all subjects of the stream begin with, as `firehose.`.
    root: String,
}

impl Subjects {
    /// Those of this stream.
    pub fn of(stream: &StreamName) -> Self {
        let root = match stream.as_str() {
            DEFAULT_STREAM => "firehose.".to_owned(),
            other => format!("{other}.firehose."),
        };
        Self {
            stream: stream.to_string(),
            root,
        }
    }

    /// The stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// All subjects of the stream.
    pub fn all(&self) -> String {
        format!("{}>", self.root)
    }

    /// Ticks.
    pub fn tick(&self) -> String {
        format!("{}tick", self.root)
    }

    /// Where a new writer makes itself known, in the log's order.
    pub fn writer(&self) -> String {
        format!("{}writer", self.root)
    }

    /// Where the writer answers whether it lives. Not part of the stream.
    pub fn alive(&self) -> String {
        format!("{}.alive", self.stream)
    }

    /// All events of a partition.
    pub fn partition(&self, partition: u16) -> String {
        format!("{}p{partition:02}.>", self.root)
    }

    /// Writes the subject of an event: `firehose.p07.app.bsky.feed.like`, `firehose.p07.account`.
    pub fn event(&self, event: &Event, text: &mut String) {
        let name = match &event.body {
            Body::Op(op) => op.collection.as_str(),
            Body::Identity { .. } => "identity",
            Body::Account { .. } => "account",
            Body::Moved { .. } => "sync",
        };
        text.clear();
        let partition = event.did.partition(PARTITIONS);
        let _ = write!(text, "{}p{partition:02}.{name}", self.root);
    }
}
