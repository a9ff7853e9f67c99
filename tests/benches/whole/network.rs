//! Frames that are made in advance and sent in an open loop, some of them marked.
//!
//! ```text
//! make ─▶ history, as fast as it is read ─▶ Gate, closed until the ─▶ live frames, at an even rate
//!                                           benchmark opens it         records when each marked
//!                                                                      frame leaves
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skytide_core::event::{Action, Body, Op};
use skytide_core::id::Did;
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::server::{Feed, OutgoingFrame, PreparedFrames};
use skytide_simnet::{Content, Frame, Network, Options};
use skytide_tests::world::Random;

/// Number of posts at the end of the history that may not be sent while the gate is closed, many
/// more than a chunk of frames contains.
const SENT_LATE: usize = 50;

/// A frame whose post the benchmark polls for.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The `seq` of the frame.
    pub seq: u64,
    /// The author of the post.
    pub did: Did,
    /// The URI of the post.
    pub uri: String,
}

/// Frames that were made in advance.
pub struct Made {
    frames: Vec<OutgoingFrame>,
    first_live: u64,
    /// The network time that belongs to the history.
    pub backlog: Duration,
    /// A post near the end of the history.
    pub settled: Option<Mark>,
    /// Marked posts of the live part, at random intervals of 30 ms on average.
    pub marks: Vec<Mark>,
    /// Number of events of the live part.
    pub live_events: u64,
    /// Number of events of the history.
    pub history_events: u64,
}

/// Makes the first frames of a network: this many events of history, then this many seconds at this
/// many events per second.
pub fn make(history: u64, rate: f64, seconds: f64) -> Made {
    let clock = skytide::clock::SystemClock;
    let start = Timestamp(clock.now().0 - 3_600_000);
    let mut network = Network::new(Options {
        seed: 7,
        accounts: 20_000,
        rate: rate.max(1.0),
        start,
        ..Options::default()
    });
    let mut made = Made {
        frames: Vec::new(),
        first_live: u64::MAX,
        backlog: Duration::ZERO,
        settled: None,
        marks: Vec::new(),
        live_events: 0,
        history_events: 0,
    };
    let (mut until, mut posts, mut removed) = (start, Vec::new(), Removed::default());
    while made.history_events < history {
        let frame = network.next_frame().expect("an endless network");
        made.history_events += frame.events.len() as u64;
        posts.extend(mark(&frame));
        removed.add(&frame);
        until = frame.time;
        made.frames.push(frame.into());
    }
    // A frame of the same moment would belong to the history, too.
    while network.peek_time() <= Some(until) && history > 0 {
        let frame = network.next_frame().expect("an endless network");
        made.history_events += frame.events.len() as u64;
        removed.add(&frame);
        made.frames.push(frame.into());
    }
    if history > 0 {
        made.backlog = Duration::from_millis(until.0 - start.0);
    }
    made.first_live = network.peek_seq().expect("an endless network");
    let mut random = Random::new(7);
    let mut due = 0.0;
    while (made.live_events as f64) < rate * seconds {
        let frame = network.next_frame().expect("an endless network");
        if made.live_events as f64 / rate >= due
            && let Some(mark) = mark(&frame)
        {
            made.marks.push(mark);
            // Exponentially distributed intervals are independent of the ticks.
            let chance = (random.below(1 << 30) + 1) as f64 / (1u64 << 30) as f64;
            due = made.live_events as f64 / rate - 0.03 * chance.ln();
        }
        removed.add(&frame);
        made.live_events += frame.events.len().max(1) as u64;
        made.frames.push(frame.into());
    }
    // The pump asks for the next frame, and waits at the gate, before it sends the frames that it
    // has.
    let mut early = posts.into_iter().rev().skip(SENT_LATE);
    made.settled = early.find(|mark| removed.retains(mark));
    made.marks.retain(|mark| removed.retains(mark));
    made
}

/// Deletions and changes of accounts, which may remove posts: the benchmark does not wait for these
/// posts.
#[derive(Default)]
struct Removed {
    deleted: BTreeSet<String>,
    accounts: BTreeSet<Did>,
}

impl Removed {
    fn add(&mut self, frame: &Frame) {
        for event in &frame.events {
            match &event.body {
                Body::Op(op) if op.action == Action::Delete => {
                    self.deleted.insert(address(&event.did, op));
                }
                Body::Account { .. } => {
                    self.accounts.insert(event.did.clone());
                }
                _ => {}
            }
        }
    }

    fn retains(&self, mark: &Mark) -> bool {
        !self.deleted.contains(&mark.uri) && !self.accounts.contains(&mark.did)
    }
}

fn address(did: &Did, op: &Op) -> String {
    format!("at://{did}/{}/{}", op.collection, op.rkey)
}

/// The post of a frame that contains nothing else.
fn mark(frame: &Frame) -> Option<Mark> {
    let ([event], [Content::Post(_)]) = (&frame.events[..], &frame.contents[..]) else {
        return None;
    };
    let Body::Op(op) = &event.body else {
        return None;
    };
    (op.action == Action::Create).then(|| Mark {
        seq: frame.seq,
        did: event.did.clone(),
        uri: address(&event.did, op),
    })
}

/// When a marked frame was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When the frame was due.
    pub due: Instant,
    /// When the frame left.
    pub left: Instant,
}

#[derive(Default)]
struct Shared {
    open: bool,
    sent: Vec<Sent>,
}

/// A feed of the frames: first the history, then, once the gate is open, the live frames.
pub struct Gate {
    frames: PreparedFrames,
    first_live: u64,
    /// The `seq`s of the marked frames that have not left.
    marked: VecDeque<u64>,
    rate: f64,
    begun: Instant,
    live_events: u64,
    handle: Handle,
}

/// Opens a gate, and records the marked frames that have passed it.
#[derive(Clone, Default)]
pub struct Handle(Arc<(Mutex<Shared>, Condvar)>);

impl Gate {
    /// A gate with the frames of `made`.
    pub fn of(made: &mut Made, rate: f64) -> (Self, Handle) {
        let handle = Handle::default();
        let gate = Self {
            frames: PreparedFrames::new(std::mem::take(&mut made.frames)),
            first_live: made.first_live,
            marked: made.marks.iter().map(|mark| mark.seq).collect(),
            rate,
            begun: Instant::now(),
            live_events: 0,
            handle: handle.clone(),
        };
        (gate, handle)
    }

    fn is_closed(&self) -> bool {
        let is_live = self.frames.next_seq() == Some(self.first_live);
        is_live && !self.handle.lock().open
    }
}

impl Handle {
    /// Opens the gate for the live frames.
    pub fn open(&self) {
        self.lock().open = true;
        self.0.1.notify_all();
    }

    /// The `index`th of the marked frames that have left.
    pub fn sent(&self, index: usize) -> Option<Sent> {
        self.lock().sent.get(index).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let waited = self.0.1.wait_while(self.lock(), |shared| !shared.open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Feed for Gate {
    /// Blocks the pump until the gate is open, before it starts the clock of the live rate.
    fn next_time(&self) -> Option<Timestamp> {
        if self.is_closed() {
            self.handle.wait();
        }
        self.frames.next_time()
    }

    fn next_frame(&mut self) -> Option<OutgoingFrame> {
        let frame = self.frames.next_frame()?;
        if frame.seq < self.first_live {
            return Some(frame);
        }
        let left = Instant::now();
        if frame.seq == self.first_live {
            self.begun = left;
        }
        if self.marked.pop_front_if(|seq| *seq == frame.seq).is_some() {
            let due = self.begun + Duration::from_secs_f64(self.live_events as f64 / self.rate);
            self.handle.lock().sent.push(Sent { due, left });
        }
        self.live_events += u64::from(frame.events.max(1));
        Some(frame)
    }

    fn skip_to(&mut self, seq: u64) {
        self.frames.skip_to(seq);
    }

    fn next_seq(&self) -> Option<u64> {
        self.frames.next_seq()
    }
}
