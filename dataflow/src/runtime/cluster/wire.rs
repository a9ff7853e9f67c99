//! Orders and replies as bytes: what crosses from the leading process to the others, and back.
//!
//! Both ends are of one version, which those who connect them make sure of, so the form may change with any version.
//! Events have the form that they have on the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skytide_core::event::{DropReason, Message};
use skytide_core::id::Epoch;

use super::post::Post;
use crate::operators::lists::WorkerList;
use crate::records::{Drops, Gauges};
use crate::runtime::batch::{End, Segment};
use crate::runtime::checkpoint::{Cut, Part};
use crate::runtime::settle::Settled;
use crate::runtime::worker::{Begin, Done, Fed, Order, Told};
use crate::types::{Clock, Input, Time};

/// An [`Order`] on its way.
#[derive(Serialize, Deserialize)]
enum WireOrder {
    Begin(Box<Begin>),
    Feed(Vec<WireSegment>, End, Option<Cut>),
}

#[derive(Serialize, Deserialize)]
struct WireSegment {
    time: Time,
    clock: Clock,
    /// Collections that get names: before the events that bring them.
    names: Vec<Box<str>>,
    /// Events as on the log, one behind the other.
    events: ByteBuf,
    /// Sections of a checkpoint, and whether each is whole.
    shards: Vec<(ByteBuf, bool)>,
    lists: Vec<WorkerList>,
}

impl Post {
    /// Sends an order to a worker of another process; `None`: there will be no further one.
    pub fn order(&mut self, to: usize, order: Option<Order>) {
        self.send(to, &order.map(WireOrder::from));
    }

    /// The next order that arrived, and from which worker.
    pub fn take_order(&self) -> Option<(usize, Option<Order>)> {
        let (from, order) = self.take::<Option<WireOrder>>()?;
        Some((from, order.map(Order::from)))
    }

    /// Answers an order.
    pub fn reply(&mut self, to: usize, reply: Reply) {
        self.send(to, &WireReply::from(reply));
    }

    /// The next reply that arrived, and from which worker.
    pub fn take_reply(&self) -> Option<(usize, Reply)> {
        let (from, reply) = self.take::<WireReply>()?;
        Some((from, reply.into()))
    }
}

/// What a worker of another process did.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its part of a batch, and what it tells of itself.
    Done(Done, Vec<Told>),
    /// Its part of a cut, and the seconds that this took.
    Part(Part, f64),
}

/// A [`Reply`] on its way.
#[derive(Serialize, Deserialize)]
enum WireReply {
    Done(End, Settled, Vec<(Gauges, Vec<(u8, u64)>)>),
    Part(Cut, Epoch, Vec<(String, ByteBuf)>, f64),
}

impl From<Order> for WireOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Begin(begin) => Self::Begin(begin),
            Order::Feed(Fed { segments, end, cut }) => {
                let segments = segments.into_iter().map(WireSegment::from);
                Self::Feed(segments.collect(), end, cut)
            }
        }
    }
}

impl From<WireOrder> for Order {
    fn from(order: WireOrder) -> Self {
        match order {
            WireOrder::Begin(begin) => Self::Begin(begin),
            WireOrder::Feed(segments, end, cut) => {
                let segments = segments.into_iter().map(Segment::from).collect();
                Self::Feed(Fed { segments, end, cut })
            }
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
                Input::Shard { section, whole } => {
                    let section = Arc::unwrap_or_clone(section);
                    shards.push((ByteBuf::from(section), whole));
                }
                Input::Names(new) => names.extend(new),
                Input::Counts(_) | Input::Accumulators(_) => {
                    unreachable!("what is counted once is fed to the first worker of all")
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
        let shards = segment.shards.into_iter().map(|(section, whole)| {
            let section = Arc::new(section.into_vec());
            Input::Shard { section, whole }
        });
        let events = Message::decode_all(&segment.events);
        let events = events.expect("it was written by the same version");
        let events = events.into_iter().map(|message| match message {
            Message::Event(event) => Input::Event(event),
            Message::Tick(_) => unreachable!("ticks are read by the leading process"),
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

impl From<Reply> for WireReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done(Done { end, settled }, told) => {
                let drops = |drops: Drops| drops.into_iter().map(|(why, n)| (why as u8, n));
                let told = told
                    .into_iter()
                    .map(|(gauges, dropped)| (gauges, drops(dropped).collect()));
                Self::Done(end, settled, told.collect())
            }
            Reply::Part(part, seconds) => {
                let sections = part.sections.into_iter();
                let sections = sections.map(|(name, bytes)| (name, ByteBuf::from(bytes)));
                Self::Part(part.cut, part.through, sections.collect(), seconds)
            }
        }
    }
}

impl From<WireReply> for Reply {
    fn from(reply: WireReply) -> Self {
        match reply {
            WireReply::Done(end, settled, told) => {
                let drop = |(why, n): (u8, u64)| (DropReason::ALL[usize::from(why)], n);
                let told = told
                    .into_iter()
                    .map(|(gauges, drops)| (gauges, drops.into_iter().map(drop).collect()));
                Self::Done(Done { end, settled }, told.collect())
            }
            WireReply::Part(cut, through, sections, seconds) => {
                let sections = sections.into_iter();
                let sections = sections.map(|(name, bytes)| (name, bytes.into_vec()));
                let part = Part {
                    cut,
                    through,
                    sections: sections.collect(),
                };
                Self::Part(part, seconds)
            }
        }
    }
}
