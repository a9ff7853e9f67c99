//! The stream as a log. Its reader measures what generating costs, so that it can be subtracted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use skytide_core::event::{Message, Tick};
use skytide_core::id::Seq;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};

use super::{Encoder, Stream};

/// What the reader of a log measures.
#[derive(Debug, Default)]
pub struct Meter {
    /// CPU time of generating, in nanoseconds.
    cpu_ns: AtomicU64,
    /// Ticks that were returned, with the time, until they are committed.
    ticks: Mutex<VecDeque<(u64, Instant)>>,
}

impl Meter {
    /// CPU seconds that were spent on generating events.
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// Notes that all epochs up to this one are committed; returns the longest time since one of
    /// their ticks was read.
    pub fn committed(&self, epoch: u64) -> Duration {
        let mut ticks = self.ticks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest = Duration::ZERO;
        while let Some((_, read)) = ticks.pop_front_if(|(tick, _)| *tick <= epoch) {
            longest = longest.max(read.elapsed());
        }
        longest
    }
}

/// The log.
#[derive(Clone, Debug)]
pub struct StreamLog {
    stream: Stream,
    encoder: Arc<Encoder>,
    meter: Arc<Meter>,
    /// The first event that is not read before its time, and the events per second from there.
    live: Option<(u64, u64)>,
}

impl StreamLog {
    /// The log of a stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            encoder: Arc::new(Encoder::new()),
            meter: Arc::default(),
            live: None,
        }
    }

    /// The same log, whose last events come at this rate.
    pub fn with_live_end(self, events: u64, per_second: u64) -> Self {
        let live = Some((self.stream.events.saturating_sub(events), per_second));
        Self { live, ..self }
    }

    /// What the readers of this log measure.
    pub fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// The message at a position. Positions start at 1.
    pub fn message(&self, seq: u64) -> Message {
        let length = self.stream.epoch_events + 1;
        let (epoch, place) = ((seq - 1) / length, (seq - 1) % length);
        if place == self.stream.epoch_events {
            return Message::Tick(self.stream.tick(epoch + 1, &self.encoder));
        }
        let number = epoch * self.stream.epoch_events + place;
        Message::Event(self.stream.event(number, &self.encoder))
    }

    /// The number of messages.
    pub fn end(&self) -> u64 {
        self.stream.epochs() * (self.stream.epoch_events + 1)
    }

    /// How long after the first live event the message at a position comes.
    fn due(&self, seq: u64) -> Option<Duration> {
        let (first, per_second) = self.live?;
        let epoch = (seq - 1) / (self.stream.epoch_events + 1);
        let events = (epoch * self.stream.epoch_events).checked_sub(first)?;
        Some(Duration::from_secs_f64(events as f64 / per_second as f64))
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[async_trait]
impl Log for StreamLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        Ok(Bounds {
            id: 1,
            first: Seq(1),
            next: Seq(self.end() + 1),
            bytes: 0,
            bytes_max: u64::MAX,
        })
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        let tick = self.stream.tick(self.stream.epochs(), &self.encoder);
        Ok(Some((Seq(self.end()), tick)))
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Err(LogError::Held)
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(Reader {
            log: self.clone(),
            next: from.0,
            live_since: None,
        }))
    }

    async fn trim(&self, _below: Seq) -> Result<(), LogError> {
        Ok(())
    }
}

struct Reader {
    log: StreamLog,
    next: u64,
    /// When the first live event was read.
    live_since: Option<Instant>,
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let mut end = self.log.end().min(self.next + messages_max as u64 - 1);
        if end < self.next {
            std::future::pending::<()>().await;
        }
        if let Some(due) = self.log.due(self.next) {
            let since = *self.live_since.get_or_insert_with(Instant::now);
            tokio::time::sleep_until((since + due).into()).await;
            // An epoch at a time.
            let length = self.log.stream.epoch_events + 1;
            end = end.min(self.next.next_multiple_of(length));
        }
        let began = thread_cpu();
        let seqs = self.next..=end;
        self.next = end + 1;
        let messages: Vec<_> = seqs.map(|seq| (Seq(seq), self.log.message(seq))).collect();
        let took = thread_cpu().saturating_sub(began).as_nanos() as u64;
        self.log.meter.cpu_ns.fetch_add(took, Ordering::Relaxed);
        let ticks = messages.iter().filter_map(|(_, message)| match message {
            Message::Tick(tick) => Some((tick.epoch.0, Instant::now())),
            Message::Event(_) => None,
        });
        let mut read = self
            .log
            .meter
            .ticks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        read.extend(ticks);
        drop(read);
        Ok(messages)
    }
}
