//! The wire format of commands and replies between the leading process and the followers.
//!
//! All processes run the same version, which the code that connects them checks. So the format may
//! change with any version. Events have the format that they have in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skytide_core::event::{DropReason, Message};
use skytide_core::id::Epoch;
use skytide_core::port::graph::WorkerReport;

use super::mailbox::Mailbox;
use crate::operators::lists::WorkerList;
use crate::records::Gauges;
use crate::runtime::batch::{End, Segment};
use crate::runtime::checkpoint::{Cut, Part};
use crate::runtime::command::{BatchInput, BatchOutput, BuildCommand, Command, WorkerStats};
use crate::runtime::consolidate::RowChanges;
use crate::saved_shard::SavedShard;
use crate::types::{Clock, Input, Time};

/// A [`Command`] as it is sent.
#[derive(Serialize, Deserialize)]
enum WireCommand {
    Build(Box<BuildCommand>),
    Feed(Vec<WireSegment>, End, Option<Cut>),
    Report,
}

/// A [`Segment`] as it is sent.
#[derive(Serialize, Deserialize)]
struct WireSegment {
    time: Time,
    clock: Clock,
    /// Collections that get names, fed before the events.
    names: Vec<Box<str>>,
    /// The events, encoded as in the log and concatenated.
    events: ByteBuf,
    /// Shards of a checkpoint.
    shards: Vec<WireShard>,
    lists: Vec<WorkerList>,
}

/// An [`Input::Shard`] as it is sent.
#[derive(Serialize, Deserialize)]
struct WireShard {
    sections: Vec<ByteBuf>,
    runs: Vec<(Box<str>, ByteBuf)>,
    whole: bool,
}

impl Mailbox {
    /// Sends a command to a worker of another process. `None` means that there are no more
    /// commands.
    pub fn send_command(&mut self, to: usize, command: Option<Command>) {
        self.send(to, &command.map(WireCommand::from));
    }

    /// Takes the oldest command that arrived, with the number of its sender.
    pub fn receive_command(&self) -> Option<(usize, Option<Command>)> {
        let (from, command) = self.receive::<Option<WireCommand>>()?;
        Some((from, command.map(Command::from)))
    }

    /// Sends a reply to a worker of the leading process.
    pub fn send_reply(&mut self, to: usize, reply: Reply) {
        self.send(to, &WireReply::from(reply));
    }

    /// Takes the oldest reply that arrived, with the number of its sender.
    pub fn receive_reply(&self) -> Option<(usize, Reply)> {
        let (from, reply) = self.receive::<WireReply>()?;
        Some((from, reply.into()))
    }
}

/// The reply of a worker of another process.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its part of a batch, its statistics, and about once a second what its operators did.
    Batch(BatchOutput, Vec<WorkerStats>, Option<Box<WorkerReport>>),
    /// Its part of a cut.
    Part(Part),
    /// What its operators did, and the memory of its process.
    Report(Box<WorkerReport>),
}

/// A [`Reply`] as it is sent.
#[derive(Serialize, Deserialize)]
enum WireReply {
    Batch(End, RowChanges, Vec<WireStats>, Option<Box<WorkerReport>>),
    Part(Box<WirePart>),
    Report(Box<WorkerReport>),
}

/// A [`Part`] as it is sent.
#[derive(Serialize, Deserialize)]
struct WirePart {
    cut: Cut,
    through: Epoch,
    sections: Vec<(String, ByteBuf)>,
    changes: Vec<(u16, ByteBuf)>,
    pause_seconds: f64,
}

/// [`WorkerStats`] as they are sent: each reason for a drop by its number.
#[derive(Serialize, Deserialize)]
struct WireStats {
    gauges: Gauges,
    drops: Vec<(u8, u64)>,
}

impl From<Command> for WireCommand {
    fn from(command: Command) -> Self {
        match command {
            Command::Build(command) => Self::Build(command),
            Command::Feed(BatchInput { segments, end, cut }) => {
                let segments = segments.into_iter().map(WireSegment::from);
                Self::Feed(segments.collect(), end, cut)
            }
            Command::Report => Self::Report,
        }
    }
}

impl From<WireCommand> for Command {
    fn from(command: WireCommand) -> Self {
        match command {
            WireCommand::Build(command) => Self::Build(command),
            WireCommand::Feed(segments, end, cut) => {
                let segments = segments.into_iter().map(Segment::from).collect();
                Self::Feed(BatchInput { segments, end, cut })
            }
            WireCommand::Report => Self::Report,
        }
    }
}

impl From<Segment> for WireSegment {
    fn from(segment: Segment) -> Self {
        let (mut names, mut events) = (Vec::new(), Vec::new());
        let mut shards = Vec::new();
        for input in segment.inputs {
            match input {
                Input::Event(event) => Message::Event(event).encode(&mut events),
                Input::Shard { saved, whole } => shards.push(WireShard::of(saved, whole)),
                Input::Names(new) => names.extend(new),
                Input::Counts(_) | Input::Coverage(_) | Input::Accumulators(_) => {
                    unreachable!(
                        "counts and sums are fed to worker 0, which is in the leading process"
                    )
                }
            }
        }
        Self {
            time: segment.time,
            clock: segment.clock,
            names,
            events: ByteBuf::from(events),
            shards,
            lists: segment.lists,
        }
    }
}

impl From<WireSegment> for Segment {
    fn from(segment: WireSegment) -> Self {
        let shards = segment.shards.into_iter().map(Input::from);
        let events = Message::decode_all(&segment.events);
        let events = events.expect("the sender runs the same version");
        let events = events.into_iter().map(|message| match message {
            Message::Event(event) => Input::Event(event),
            Message::Tick(_) => unreachable!("only the leading process reads ticks"),
        });
        let names = Some(segment.names).filter(|names| !names.is_empty());
        let names = names.map(Input::Names).into_iter();
        Self {
            time: segment.time,
            clock: segment.clock,
            inputs: names.chain(shards).chain(events).collect(),
            lists: segment.lists,
        }
    }
}

impl WireShard {
    fn of(saved: SavedShard, whole: bool) -> Self {
        let bytes = |it: Arc<Vec<u8>>| ByteBuf::from(Arc::unwrap_or_clone(it));
        let runs = saved.runs.into_iter();
        Self {
            sections: saved.sections.into_iter().map(bytes).collect(),
            runs: runs.map(|(name, run)| (name, bytes(run))).collect(),
            whole,
        }
    }
}

impl From<WireShard> for Input {
    fn from(shard: WireShard) -> Self {
        let bytes = |it: ByteBuf| Arc::new(it.into_vec());
        let runs = shard.runs.into_iter();
        let saved = SavedShard {
            sections: shard.sections.into_iter().map(bytes).collect(),
            runs: runs.map(|(name, run)| (name, bytes(run))).collect(),
        };
        Self::Shard {
            saved,
            whole: shard.whole,
        }
    }
}

impl From<Reply> for WireReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Batch(BatchOutput { end, changes }, stats, report) => {
                let stats = stats.into_iter().map(WireStats::from);
                Self::Batch(end, changes, stats.collect(), report)
            }
            Reply::Part(part) => {
                let sections = part.sections.into_iter();
                let sections = sections.map(|(name, bytes)| (name, ByteBuf::from(bytes)));
                let changes = part.changes.into_iter();
                let changes = changes.map(|(shard, bytes)| (shard, ByteBuf::from(bytes)));
                Self::Part(Box::new(WirePart {
                    cut: part.cut,
                    through: part.through,
                    sections: sections.collect(),
                    changes: changes.collect(),
                    pause_seconds: part.pause_seconds,
                }))
            }
            Reply::Report(report) => Self::Report(report),
        }
    }
}

impl From<WireReply> for Reply {
    fn from(reply: WireReply) -> Self {
        match reply {
            WireReply::Batch(end, changes, stats, report) => {
                let stats = stats.into_iter().map(WorkerStats::from);
                Self::Batch(BatchOutput { end, changes }, stats.collect(), report)
            }
            WireReply::Part(part) => {
                let sections = part.sections.into_iter();
                let sections = sections.map(|(name, bytes)| (name, bytes.into_vec()));
                let changes = part.changes.into_iter();
                let changes = changes.map(|(shard, bytes)| (shard, bytes.into_vec()));
                Self::Part(Part {
                    cut: part.cut,
                    through: part.through,
                    sections: sections.collect(),
                    changes: changes.collect(),
                    pause_seconds: part.pause_seconds,
                })
            }
            WireReply::Report(report) => Self::Report(report),
        }
    }
}

impl From<WorkerStats> for WireStats {
    fn from(stats: WorkerStats) -> Self {
        let drops = stats.drops.into_iter();
        let drops = drops.map(|(reason, n)| (reason as u8, n));
        Self {
            gauges: stats.gauges,
            drops: drops.collect(),
        }
    }
}

impl From<WireStats> for WorkerStats {
    fn from(stats: WireStats) -> Self {
        let drops = stats.drops.into_iter();
        let drops = drops.map(|(reason, n)| (DropReason::ALL[usize::from(reason)], n));
        Self {
            gauges: stats.gauges,
            drops: drops.collect(),
        }
    }
}
