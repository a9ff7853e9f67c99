//! Epochs of the log, and the batches in which they are fed.
//!
//! ```text
//! messages ─▶ epoch: everything between two ticks, ordered, repeats removed
//! epochs   ─▶ batch: [ up to its last list epoch ][ the rest ]      one commit
//! ```
//!
//! A batch takes as many epochs as have gathered while the one before was at work. Views are functions of the log at
//! each epoch, so how epochs are grouped changes nothing but how many intermediate rows are never written. Lists are
//! the exception that needs the cut: they are as of the last *list epoch*, one whose tick begins a new second of network
//! time. Where that stands, as events have ceased, ingest marks a tick that is one, too: the last tick of a recording, a
//! settled one of a live stream. So nothing is left out of the lists of a stream that is quiet.

use serde::{Deserialize, Serialize};
use skytide_core::event::{Body, Event, Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::{Mark, tick_hash};
use skytide_core::time::Timestamp;

use crate::DataflowError;
use crate::operators::lists::WorkerList;
use crate::records::worker_of;
use crate::types::{Clock, Input, Time};

/// Gathers messages into epochs.
#[derive(Debug, Default)]
pub struct Epochs {
    events: Vec<Event>,
    newest: Option<(Epoch, Timestamp)>,
    since: Option<Timestamp>,
    /// Whether what comes first is the end of an epoch whose beginning is gone.
    partial: bool,
    /// Whether lists are written at the next epoch in any case.
    first_lists: bool,
    /// Lists are written only behind this epoch: up to there a checkpoint has them.
    listed_through: Epoch,
}

/// A whole epoch.
#[derive(Debug)]
pub struct WholeEpoch {
    /// Its events, ordered and without repeats.
    pub events: Vec<Event>,
    /// Bytes in memory of these events.
    pub bytes: usize,
    /// Its end.
    pub tick: Tick,
    /// The time of the dataflow that it has.
    pub time: Time,
    /// Whether lists are written at its end.
    pub lists: bool,
    /// Position of the tick.
    pub log_seq: Seq,
    /// The tick's hash.
    pub hash: u64,
    /// Network time of the first event of all.
    pub since: Timestamp,
}

impl Epochs {
    /// Epochs behind a tick; lists are written behind `listed_through`.
    pub fn behind(mark: &Mark, since: Timestamp, listed_through: Epoch) -> Self {
        Self {
            newest: Some((mark.epoch, mark.time)),
            since: Some(since),
            listed_through,
            ..Self::default()
        }
    }

    /// Whole epochs of a log whose beginning was trimmed: the first one counts from behind the first tick.
    pub fn trimmed() -> Self {
        Self {
            partial: true,
            ..Self::default()
        }
    }

    /// Takes the next message; answers the epoch that it ends.
    ///
    /// # Errors
    /// Ticks are not numbered one by one, or time goes back: the log is damaged.
    pub fn take(
        &mut self,
        seq: Seq,
        message: Message,
    ) -> Result<Option<WholeEpoch>, DataflowError> {
        let tick = match message {
            Message::Event(_) if self.partial => return Ok(None),
            Message::Event(mut event) => {
                shorten(&mut event);
                self.begin(event.time);
                self.events.push(event);
                return Ok(None);
            }
            Message::Tick(tick) => tick,
        };
        if std::mem::take(&mut self.partial) {
            self.newest = Some((tick.epoch, tick.time));
            self.first_lists = true;
            return Ok(None);
        }
        let (before, time_before) = self.newest.unwrap_or_default();
        if tick.epoch.0 != before.0 + 1 || tick.time < time_before {
            let found = tick.epoch;
            return Err(DataflowError::Ticks { seq, before, found });
        }
        let time = Time::try_from(tick.epoch.0).map_err(|_| DataflowError::EpochsEnded)?;
        let first = self.newest.is_none() || std::mem::take(&mut self.first_lists);
        let new_second = tick.time.second() > time_before.second();
        self.newest = Some((tick.epoch, tick.time));
        let mut events = std::mem::take(&mut self.events);
        events.retain(|event| !is_left_over(event, &tick));
        let order = |event: &Event| (event.host.clone(), event.seq, event.index);
        if !events.is_sorted_by(|a, b| (&a.host, a.seq, a.index) < (&b.host, b.seq, b.index)) {
            events.sort_by_key(order);
            events.dedup_by(|a, b| (&a.host, a.seq, a.index) == (&b.host, b.seq, b.index));
        }
        Ok(Some(WholeEpoch {
            bytes: events.iter().map(Event::bytes).sum(),
            events,
            time,
            lists: tick.epoch > self.listed_through
                && (first || new_second || tick.idle || tick.last),
            log_seq: seq,
            hash: tick_hash(&tick),
            since: self.begin(tick.time),
            tick,
        }))
    }

    /// Network time of the first event of all. One without a time is not the first: logs of earlier versions hold such.
    fn begin(&mut self, time: Timestamp) -> Timestamp {
        match self.since.filter(|since| *since > Timestamp(0)) {
            Some(since) => since,
            None => *self.since.insert(time),
        }
    }
}

/// Bytes of a text of an announcement that are read from the log: more than anything makes use of.
const TEXT_BYTES_MAX: usize = 512;

/// Shortens texts of announcements, which an older version wrote however long they were, and as many as an epoch may have
/// events. What is left is still too long for what it is, and refused as such where it is applied.
fn shorten(event: &mut Event) {
    let text = match &mut event.body {
        Body::Identity { handle } => handle,
        Body::Account { status, .. } => status,
        Body::Op(_) | Body::Moved { .. } => return,
    };
    if let Some(long) = text.take_if(|text| text.len() > TEXT_BYTES_MAX) {
        *text = Some(long[..long.floor_char_boundary(TEXT_BYTES_MAX)].into());
    }
}

/// Whether an event was left by a writer that ended before its tick, and is not of this epoch: the next writer has ended
/// the epoch earlier, and writes the event again in a later one.
fn is_left_over(event: &Event, tick: &Tick) -> bool {
    event.host == tick.host && event.seq > tick.cursor
}

/// The end of a batch: what the commit will say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last epoch.
    pub epoch: Epoch,
    /// Network time at its end.
    pub time: Timestamp,
    /// Network time of the first event of all.
    pub since: Timestamp,
    /// Position of its tick.
    pub log_seq: Seq,
    /// The tick's hash.
    pub hash: u64,
    /// Whether this is a part of a checkpoint that is taken in, and no epochs of the log.
    pub restored: bool,
    /// Events in the batch.
    pub events: usize,
    /// Bytes in memory of these events.
    pub bytes: usize,
    /// Epochs in the batch.
    pub epochs: usize,
}

impl End {
    /// Its tick.
    pub fn mark(&self) -> Mark {
        Mark {
            epoch: self.epoch,
            seq: self.log_seq,
            hash: self.hash,
            time: self.time,
        }
    }
}

/// What one worker is fed at one time.
#[derive(Debug)]
pub struct Segment {
    /// The time: its last epoch.
    pub time: Time,
    /// The clock at that time.
    pub clock: Clock,
    /// Events of this worker's accounts, in order.
    pub inputs: Vec<Input>,
    /// Lists of a checkpoint.
    pub lists: Vec<WorkerList>,
}

/// Epochs that are fed and committed together.
#[derive(Debug)]
pub struct Batch {
    /// For each worker the segments up to the last list epoch, and behind it.
    workers: Vec<[Option<Segment>; 2]>,
    end: Option<End>,
}

impl Batch {
    /// An empty batch for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| [None, None]).collect(),
            end: None,
        }
    }

    /// Its end so far; `None` while it is empty.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Adds the next epoch, in which these collections get names.
    pub fn add(&mut self, epoch: WholeEpoch, names: &[Box<str>]) {
        let WholeEpoch {
            events,
            bytes,
            tick,
            time,
            lists,
            log_seq,
            hash,
            since,
        } = epoch;
        let before = self.end.map(|end| (end.events, end.bytes, end.epochs));
        let (events_before, bytes_before, epochs_before) = before.unwrap_or_default();
        self.end = Some(End {
            epoch: tick.epoch,
            time: tick.time,
            since,
            log_seq,
            hash,
            restored: false,
            events: events_before + events.len(),
            bytes: bytes_before + bytes,
            epochs: epochs_before + 1,
        });
        let workers = self.workers.len();
        for segments in &mut self.workers {
            let [head, tail] = segments;
            let clock = Clock {
                now: tick.time,
                lists,
            };
            if lists && let Some(behind) = tail.take() {
                join(head, behind);
            }
            join(
                if lists { head } else { tail },
                Segment {
                    time,
                    clock,
                    inputs: Vec::new(),
                    lists: Vec::new(),
                },
            );
        }
        let place = usize::from(!lists);
        for segments in self.workers.iter_mut().filter(|_| !names.is_empty()) {
            feed(&mut segments[place], Input::Names(names.to_vec()));
        }
        for event in events {
            let worker = worker_of(&event.did, workers);
            feed(&mut self.workers[worker][place], Input::Event(event));
        }
        if !tick.counts.is_empty() {
            feed(&mut self.workers[0][place], Input::Counts(tick.counts));
        }
    }

    /// The segments of each worker, in order of time.
    pub fn into_segments(self) -> impl Iterator<Item = Vec<Segment>> {
        self.workers
            .into_iter()
            .map(|segments| segments.into_iter().flatten().collect())
    }
}

/// Puts a segment behind another one: their inputs together, at the later time.
fn join(segment: &mut Option<Segment>, behind: Segment) {
    match segment {
        None => *segment = Some(behind),
        Some(segment) => {
            let mut inputs = std::mem::take(&mut segment.inputs);
            inputs.extend(behind.inputs);
            let lists = segment.clock.lists || behind.clock.lists;
            let clock = Clock {
                lists,
                ..behind.clock
            };
            *segment = Segment {
                inputs,
                clock,
                time: behind.time,
                lists: Vec::new(),
            };
        }
    }
}

fn feed(segment: &mut Option<Segment>, input: Input) {
    segment
        .as_mut()
        .expect("the epoch made its segment")
        .inputs
        .push(input);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use skytide_core::event::Sources;
    use skytide_core::id::Cursor;

    use super::*;

    fn event(seq: u64) -> Message {
        Message::Event(Event {
            host: Arc::from("relay.example"),
            seq: Cursor(seq),
            index: 0,
            time: Timestamp(1),
            did: "did:plc:3ir4kq33qnjyzawsel2s2vak".parse().unwrap(),
            body: Body::Identity { handle: None },
        })
    }

    fn tick(epoch: u64, ms: u64) -> Message {
        Message::Tick(Tick {
            epoch: Epoch(epoch),
            time: Timestamp(ms),
            host: Arc::from("relay.example"),
            cursor: Cursor(ms),
            frames: 0,
            last: false,
            idle: false,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        })
    }

    #[test]
    fn an_epoch_is_ordered_and_has_no_repeats() {
        let mut epochs = Epochs::default();
        for seq in [3, 1, 2, 1, 3] {
            assert!(epochs.take(Seq(1), event(seq)).unwrap().is_none());
        }
        let epoch = epochs.take(Seq(6), tick(1, 5)).unwrap().unwrap();
        let seqs: Vec<u64> = epoch.events.iter().map(|event| event.seq.0).collect();
        assert_eq!(seqs, [1, 2, 3]);
    }

    #[test]
    fn what_a_crash_left_is_of_the_epoch_whose_tick_covers_it() {
        // The first writer ended before its tick; the second one cuts earlier than it would have.
        let mut epochs = Epochs::default();
        let mut told = Vec::new();
        let mut take = |message| {
            if let Some(epoch) = epochs.take(Seq(1), message).unwrap() {
                let seqs = epoch.events.iter().map(|event| event.seq.0);
                told.push(seqs.collect::<Vec<_>>());
            }
        };
        for seq in [1, 2, 3, 4, 1, 2] {
            take(event(seq));
        }
        take(tick(1, 2));
        for seq in [3, 4, 5] {
            take(event(seq));
        }
        take(tick(2, 5));
        assert_eq!(told, [vec![1, 2], vec![3, 4, 5]]);
    }

    #[test]
    fn texts_of_announcements_are_shortened_and_bytes_are_counted() {
        let mut epochs = Epochs::default();
        let text = || Some("\u{1f600}".repeat(50_000).into());
        let bodies = [
            Body::Identity { handle: text() },
            Body::Account {
                active: true,
                status: text(),
            },
        ];
        for (seq, body) in (1..).zip(bodies) {
            let Message::Event(event) = event(seq) else {
                unreachable!("it is an event");
            };
            let event = Event { body, ..event };
            epochs.take(Seq(seq), Message::Event(event)).unwrap();
        }
        let epoch = epochs.take(Seq(6), tick(1, 5)).unwrap().unwrap();
        let held = size_of::<Event>() + TEXT_BYTES_MAX;
        assert_eq!((epoch.events.len(), epoch.bytes), (2, 2 * held));
    }

    #[test]
    fn an_event_without_a_time_is_not_the_first() {
        let mut epochs = Epochs::default();
        let mut untimed = event(1);
        if let Message::Event(event) = &mut untimed {
            event.time = Timestamp(0);
        }
        epochs.take(Seq(1), untimed).unwrap();
        let first = epochs.take(Seq(2), tick(1, 0)).unwrap().unwrap();
        assert_eq!(first.since, Timestamp(0));
        let second = epochs.take(Seq(3), tick(2, 1_783_175_886_928)).unwrap();
        let since = second.unwrap().since;
        assert_eq!(since, Timestamp(1_783_175_886_928));
        let third = epochs.take(Seq(4), tick(3, 1_783_175_899_999)).unwrap();
        assert_eq!(third.unwrap().since, since);
    }

    #[test]
    fn a_missing_tick_is_refused() {
        let mut epochs = Epochs::default();
        epochs.take(Seq(1), tick(1, 5)).unwrap();
        assert!(epochs.take(Seq(2), tick(3, 6)).is_err());
    }

    #[test]
    fn a_batch_is_cut_at_its_last_list_epoch() {
        let mut epochs = Epochs::default();
        let mut batch = Batch::new(1);
        for (epoch, ms) in [
            (1, 900),
            (2, 950),
            (3, 1_000),
            (4, 1_100),
            (5, 2_000),
            (6, 2_100),
        ] {
            epochs.take(Seq(epoch), event(epoch)).unwrap();
            batch.add(
                epochs.take(Seq(epoch), tick(epoch, ms)).unwrap().unwrap(),
                &[],
            );
        }
        assert_eq!(batch.end().unwrap().epoch, Epoch(6));
        let segments = batch.into_segments().next().unwrap();
        let told: Vec<_> = segments
            .iter()
            .map(|s| (s.time, s.clock.lists, s.inputs.len()))
            .collect();
        assert_eq!(told, [(5, true, 5), (6, false, 1)]);
    }
}
