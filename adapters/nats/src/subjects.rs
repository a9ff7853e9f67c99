//! The names of the stream and its subjects. All subjects start with a prefix that depends on the
//! name of the stream, so several streams can share a server.
//!
//! ```text
//! skytide              firehose.p07.app.bsky.feed.like    firehose.tick
//! any other name, x    x.firehose.p07.app.bsky.feed.like  x.firehose.tick
//! ```

use std::fmt::Write;

use skytide_core::config::StreamName;
use skytide_core::event::{Body, Event};

/// The number of partitions into which events are divided by account. Each collection has one
/// subject per partition. The number is part of the stored format.
pub const PARTITIONS: u16 = 16;

/// The name of the stream whose subjects do not start with its name.
const DEFAULT_STREAM: &str = "skytide";

/// The names of a stream and its subjects.
#[derive(Clone, Debug)]
pub struct Subjects {
    stream: String,
    /// The prefix of all subjects of the stream: `firehose.` or, for example, `x.firehose.`.
    prefix: String,
}

impl Subjects {
    /// The names for this stream.
    pub fn of(stream: &StreamName) -> Self {
        let prefix = match stream.as_str() {
            DEFAULT_STREAM => "firehose.".to_owned(),
            other => format!("{other}.firehose."),
        };
        Self {
            stream: stream.to_string(),
            prefix,
        }
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// A pattern that matches all subjects of the stream.
    pub fn all(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// The subject of ticks.
    pub fn tick(&self) -> String {
        format!("{}tick", self.prefix)
    }

    /// The subject of claims. A claim is the first message of a new writer; it is part of the log.
    pub fn writer(&self) -> String {
        format!("{}writer", self.prefix)
    }

    /// The subject of liveness requests, which a writer answers while it runs. They are not part of
    /// the stream.
    pub fn alive(&self) -> String {
        format!("{}.alive", self.stream)
    }

    /// A pattern that matches all events of a partition.
    pub fn partition(&self, partition: u16) -> String {
        format!("{}p{partition:02}.>", self.prefix)
    }

    /// Writes the subject of an event into `text`: `firehose.p07.app.bsky.feed.like`,
    /// `firehose.p07.account`.
    pub fn event(&self, event: &Event, text: &mut String) {
        let name = match &event.body {
            Body::Op(op) => op.collection.as_str(),
            Body::Identity { .. } => "identity",
            Body::Account { .. } => "account",
            // All events of this kind share one subject, also those that come from a commit.
            Body::Moved { .. } => "sync",
        };
        text.clear();
        let partition = event.did.partition(PARTITIONS);
        let _ = write!(text, "{}p{partition:02}.{name}", self.prefix);
    }
}
