//! Whole epochs of the log, and the batches that group them.
//!
//! ```text
//! messages ─▶ epoch: everything between two ticks, ordered, repeats removed
//! epochs   ─▶ batch: [ up to its last list epoch ][ the rest ]      one commit
//! ```
//!
//! A batch takes the epochs that arrived while the previous batch was processed. Views are
//! functions of the log at each epoch. So the grouping of epochs only affects which intermediate
//! rows are never written, with one exception: lists are exact at the last *list epoch*, whose tick
//! begins a new second of network time. This is why a batch is split after its last list epoch.
//! When events cease, no tick would begin a new second, so ingest marks a tick that also ends a
//! list epoch: the last tick of a recording, and an idle tick of a live stream. So the lists of an
//! idle stream miss no events.

use serde::{Deserialize, Serialize};
use skytide_core::event::{Body, Event, Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::{Mark, tick_hash};
use skytide_core::time::Timestamp;

use crate::DataflowError;
use crate::fact::TickCoverage;
use crate::operators::lists::WorkerList;
use crate::records::worker_of;
use crate::types::{Clock, Input, Time};

/// Assembles messages into epochs.
#[derive(Debug, Default)]
pub struct Epochs {
    /// Events since the newest tick.
    events: Vec<Event>,
    /// Bytes in memory of these events.
    bytes: usize,
    /// The newest tick.
    newest: Option<(Epoch, Timestamp)>,
    /// Network time of the first event of all.
    since: Option<Timestamp>,
    /// Whether the first messages are the end of an epoch whose beginning was trimmed.
    partial: bool,
    /// Whether the next epoch is a list epoch even if its tick begins no new second.
    first_lists: bool,
    /// Lists are written only after this epoch: the checkpoint has the lists up to there.
    listed_through: Epoch,
}

/// A whole epoch.
#[derive(Debug)]
pub struct WholeEpoch {
    /// Its events, ordered and without repeats.
    pub events: Vec<Event>,
    /// Bytes in memory of these events.
    pub bytes: usize,
    /// The tick at its end.
    pub tick: Tick,
    /// Its time in the dataflow.
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
    /// Starts after a tick. Lists are written after `listed_through`.
    pub fn after(mark: &Mark, since: Timestamp, listed_through: Epoch) -> Self {
        Self {
            newest: Some((mark.epoch, mark.time)),
            since: Some(since),
            listed_through,
            ..Self::default()
        }
    }

    /// Starts at the beginning of a trimmed log. The first whole epoch begins after the first tick.
    pub fn trimmed() -> Self {
        Self {
            partial: true,
            ..Self::default()
        }
    }

    /// Adds the next message. Returns the epoch that it ends.
    ///
    /// # Errors
    /// Ticks are not numbered consecutively, or time decreases: the log is damaged.
    pub fn push(
        &mut self,
        seq: Seq,
        message: Message,
    ) -> Result<Option<WholeEpoch>, DataflowError> {
        let tick = match message {
            Message::Event(_) if self.partial => return Ok(None),
            Message::Event(mut event) => {
                truncate_text(&mut event);
                self.first_event_time(event.time);
                self.bytes += event.bytes();
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
        self.bytes = 0;
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
            since: self.first_event_time(tick.time),
            tick,
        }))
    }

    /// The number of events since the newest tick, and their bytes in memory.
    pub fn pending(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }

    /// Network time of the first event of all, which is `time` if none came before. An event
    /// without a time, as logs of earlier versions hold them, does not count as the first.
    fn first_event_time(&mut self, time: Timestamp) -> Timestamp {
        match self.since.filter(|since| *since > Timestamp(0)) {
            Some(since) => since,
            None => *self.since.insert(time),
        }
    }
}

/// The bytes that are read of a text in an `#account` or `#identity` event: more than any view
/// uses.
const TEXT_BYTES_MAX: usize = 512;

/// Truncates the texts of `#account` and `#identity` events. An older version logged them at any
/// length, and an epoch may have as many as it has events. A truncated text is still too long to be
/// valid, so it is rejected where it is applied.
fn truncate_text(event: &mut Event) {
    let text = match &mut event.body {
        Body::Identity { handle, .. } => handle,
        Body::Account { status, .. } => status,
        Body::Op(_) | Body::Moved { .. } => return,
    };
    if let Some(long) = text.take_if(|text| text.len() > TEXT_BYTES_MAX) {
        *text = Some(long[..long.floor_char_boundary(TEXT_BYTES_MAX)].into());
    }
}

/// Whether this event is not of this epoch, because a writer crashed before its tick and left it.
/// The next writer ended the epoch earlier, and writes the event again in a later epoch.
fn is_left_over(event: &Event, tick: &Tick) -> bool {
    event.host == tick.host && event.seq > tick.cursor
}

/// The end of a batch, which becomes the position of the commit.
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
    /// Whether the batch is a chunk of a restored checkpoint instead of epochs of the log.
    pub restored: bool,
    /// Events in the batch.
    pub events: usize,
    /// Bytes in memory of these events.
    pub bytes: usize,
    /// Epochs in the batch.
    pub epochs: usize,
}

impl End {
    /// The tick of the last epoch.
    pub fn mark(&self) -> Mark {
        Mark {
            epoch: self.epoch,
            seq: self.log_seq,
            hash: self.hash,
            time: self.time,
        }
    }
}

/// The inputs of one worker at one time.
#[derive(Debug)]
pub struct Segment {
    /// The time, which is the segment's last epoch.
    pub time: Time,
    /// The clock at that time.
    pub clock: Clock,
    /// The inputs in order: events of this worker's accounts, names, and data of a checkpoint.
    pub inputs: Vec<Input>,
    /// Lists from a checkpoint.
    pub lists: Vec<WorkerList>,
}

/// Epochs that are processed and committed together.
#[derive(Debug)]
pub struct Batch {
    /// For each worker, the segment up to the last list epoch and the one after it.
    workers: Vec<[Option<Segment>; 2]>,
    end: Option<End>,
}

impl Batch {
    /// An empty batch for this number of workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| [None, None]).collect(),
            end: None,
        }
    }

    /// The end of the epochs added so far; `None` while the batch is empty.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Adds the next epoch. `names` are the collections that `activity` counts under their own
    /// names from this epoch on.
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
            if lists && let Some(tail) = tail.take() {
                append(head, tail);
            }
            append(
                if lists { head } else { tail },
                Segment {
                    time,
                    clock,
                    inputs: Vec::new(),
                    lists: Vec::new(),
                },
            );
        }
        let slot = usize::from(!lists);
        for segments in self.workers.iter_mut().filter(|_| !names.is_empty()) {
            feed(&mut segments[slot], Input::Names(names.to_vec()));
        }
        let coverage = TickCoverage::of(&tick, &events);
        feed(&mut self.workers[0][slot], Input::Coverage(coverage));
        for event in events {
            let worker = worker_of(&event.did, workers);
            feed(&mut self.workers[worker][slot], Input::Event(event));
        }
        if !tick.counts.is_empty() {
            feed(&mut self.workers[0][slot], Input::Counts(tick.counts));
        }
    }

    /// For each worker, its segments in order of time.
    pub fn into_segments(self) -> impl Iterator<Item = Vec<Segment>> {
        self.workers
            .into_iter()
            .map(|segments| segments.into_iter().flatten().collect())
    }
}

/// Appends a segment to an earlier one. The result has the inputs of both, at the later time.
fn append(segment: &mut Option<Segment>, later: Segment) {
    match segment {
        None => *segment = Some(later),
        Some(segment) => {
            let mut inputs = std::mem::take(&mut segment.inputs);
            inputs.extend(later.inputs);
            let lists = segment.clock.lists || later.clock.lists;
            let clock = Clock {
                lists,
                ..later.clock
            };
            *segment = Segment {
                inputs,
                clock,
                time: later.time,
                lists: Vec::new(),
            };
        }
    }
}

fn feed(segment: &mut Option<Segment>, input: Input) {
    segment
        .as_mut()
        .expect("the segment of the epoch exists")
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
            body: Body::Identity {
                handle: None,
                sent: None,
            },
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
            assert!(epochs.push(Seq(1), event(seq)).unwrap().is_none());
        }
        let epoch = epochs.push(Seq(6), tick(1, 5)).unwrap().unwrap();
        let seqs: Vec<u64> = epoch.events.iter().map(|event| event.seq.0).collect();
        assert_eq!(seqs, [1, 2, 3]);
    }

    #[test]
    fn events_left_by_a_crash_belong_to_the_epoch_whose_tick_covers_them() {
        // The first writer crashed before its tick. The second one ends the epoch earlier.
        let mut epochs = Epochs::default();
        let mut emitted = Vec::new();
        let mut push = |message| {
            if let Some(epoch) = epochs.push(Seq(1), message).unwrap() {
                let seqs = epoch.events.iter().map(|event| event.seq.0);
                emitted.push(seqs.collect::<Vec<_>>());
            }
        };
        for seq in [1, 2, 3, 4, 1, 2] {
            push(event(seq));
        }
        push(tick(1, 2));
        for seq in [3, 4, 5] {
            push(event(seq));
        }
        push(tick(2, 5));
        assert_eq!(emitted, [vec![1, 2], vec![3, 4, 5]]);
    }

    #[test]
    fn long_texts_of_account_events_are_truncated_and_their_bytes_counted() {
        let mut epochs = Epochs::default();
        let text = || Some("\u{1f600}".repeat(50_000).into());
        let bodies = [
            Body::Identity {
                handle: text(),
                sent: None,
            },
            Body::Account {
                active: true,
                status: text(),
                sent: None,
            },
        ];
        for (seq, body) in (1..).zip(bodies) {
            let Message::Event(event) = event(seq) else {
                unreachable!("it is an event");
            };
            let event = Event { body, ..event };
            epochs.push(Seq(seq), Message::Event(event)).unwrap();
        }
        let epoch = epochs.push(Seq(6), tick(1, 5)).unwrap().unwrap();
        let bytes = size_of::<Event>() + TEXT_BYTES_MAX;
        assert_eq!((epoch.events.len(), epoch.bytes), (2, 2 * bytes));
    }

    #[test]
    fn an_event_without_a_time_does_not_count_as_the_first() {
        let mut epochs = Epochs::default();
        let mut untimed = event(1);
        if let Message::Event(event) = &mut untimed {
            event.time = Timestamp(0);
        }
        epochs.push(Seq(1), untimed).unwrap();
        let first = epochs.push(Seq(2), tick(1, 0)).unwrap().unwrap();
        assert_eq!(first.since, Timestamp(0));
        let second = epochs.push(Seq(3), tick(2, 1_783_175_886_928)).unwrap();
        let since = second.unwrap().since;
        assert_eq!(since, Timestamp(1_783_175_886_928));
        let third = epochs.push(Seq(4), tick(3, 1_783_175_899_999)).unwrap();
        assert_eq!(third.unwrap().since, since);
    }

    #[test]
    fn a_missing_tick_is_refused() {
        let mut epochs = Epochs::default();
        epochs.push(Seq(1), tick(1, 5)).unwrap();
        assert!(epochs.push(Seq(2), tick(3, 6)).is_err());
    }

    #[test]
    fn a_batch_is_split_after_its_last_list_epoch() {
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
            epochs.push(Seq(epoch), event(epoch)).unwrap();
            batch.add(
                epochs.push(Seq(epoch), tick(epoch, ms)).unwrap().unwrap(),
                &[],
            );
        }
        assert_eq!(batch.end().unwrap().epoch, Epoch(6));
        let segments = batch.into_segments().next().unwrap();
        let found: Vec<_> = segments
            .iter()
            .map(|s| (s.time, s.clock.lists, s.inputs.len()))
            .collect();
        // Each epoch has an event, and what its tick says of missing events.
        assert_eq!(found, [(5, true, 10), (6, false, 2)]);
    }
}
