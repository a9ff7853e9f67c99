//! The state that the pump and all endpoints share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use skytide_core::port::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::answer_fault::AnswerFault;
use super::feed::{Feed, OutgoingFrame};
use super::identities::IdentityCases;
use super::profile_budget::Budget;
use super::relay_options::RelayOptions;
use super::window::Window;
use crate::faults::Faults;

/// The shared state.
pub(super) struct Shared {
    feed: Mutex<Box<dyn Feed>>,
    /// Number of requests that wait for the feed. The pump lets them go first.
    waiting: AtomicU64,
    pub(super) window: Window,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) budget: Budget,
    pub(super) identities: IdentityCases,
    answers: Mutex<Option<AnswerFault>>,
    pub(super) relay: RelayOptions,
    pub(super) clock: Arc<dyn Clock>,
    /// The URL of the server, such as `http://127.0.0.1:2583`.
    pub(super) url: String,
    pub(super) stop: CancellationToken,
}

/// The arguments of [`Shared::new`].
pub(super) struct SharedParts {
    pub(super) feed: Box<dyn Feed>,
    pub(super) window: Window,
    pub(super) faults: Faults,
    pub(super) budget: Budget,
    pub(super) identities: IdentityCases,
    pub(super) answers: Option<AnswerFault>,
    pub(super) relay: RelayOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) url: String,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        Self {
            feed: Mutex::new(parts.feed),
            waiting: AtomicU64::new(0),
            window: parts.window,
            faults: parts.faults,
            counts: Counts::default(),
            budget: parts.budget,
            identities: parts.identities,
            answers: Mutex::new(parts.answers),
            relay: parts.relay,
            clock: parts.clock,
            url: parts.url,
            stop: parts.stop,
        }
    }

    /// Calls `work` with the feed, on behalf of the pump. Waiting requests go first.
    pub(super) fn feed<T>(&self, work: impl FnOnce(&mut dyn Feed) -> T) -> T {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut **feed)
    }

    /// Calls `work` with the feed, on behalf of a request, on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut dyn Feed) -> T + Send + 'static,
    ) -> T {
        let shared = self.clone();
        let asking = tokio::task::spawn_blocking(move || {
            shared.waiting.fetch_add(1, Ordering::Relaxed);
            let mut feed = shared.feed.lock().unwrap_or_else(PoisonError::into_inner);
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            work(&mut **feed)
        });
        match asking.await {
            Ok(answer) => answer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// How answers are spoiled now.
    pub(super) fn answer_fault(&self) -> Option<AnswerFault> {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_answer_fault(&self, fault: Option<AnswerFault>) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// The current state.
    pub(super) fn state(&self) -> State {
        let size = self.window.size();
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let counts = &self.counts;
        let bad = counts.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let fired = self.faults.fired();
        State {
            url: self.url.clone(),
            frames: number(&counts.frames),
            events: number(&counts.events),
            bytes: number(&counts.bytes),
            newest_seq: size.newest_seq,
            skipped_seq: number(&counts.skipped),
            network_time_ms: number(&counts.network_time),
            window_frames: size.frames,
            window_bytes: size.bytes,
            caught_up: counts.caught_up.load(Ordering::Relaxed),
            ended: counts.ended.load(Ordering::Relaxed),
            connections: number(&counts.connections),
            connections_open: number(&counts.connections_open),
            too_slow: number(&counts.too_slow),
            profile_requests: self.budget.requests(),
            profile_refusals: self.budget.refusals(),
            bad: bad.clone(),
            faults: fired.iter().map(|(it, n)| (it.as_str(), *n)).collect(),
        }
    }
}

/// Counts since the start of the server.
#[derive(Debug, Default)]
pub(super) struct Counts {
    frames: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    network_time: AtomicU64,
    bad: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) skipped: AtomicU64,
    /// Whether the network must not produce any more frames.
    pub(super) ending: AtomicBool,
    pub(super) caught_up: AtomicBool,
    pub(super) ended: AtomicBool,
    pub(super) connections: AtomicU64,
    pub(super) connections_open: AtomicU64,
    pub(super) too_slow: AtomicU64,
}

impl Counts {
    /// Counts a frame that the network sent.
    pub(super) fn sent(&self, frame: &OutgoingFrame) {
        let add = |to: &AtomicU64, more: u64| to.fetch_add(more, Ordering::Relaxed);
        add(&self.frames, 1);
        add(&self.events, frame.events.into());
        add(&self.bytes, frame.bytes.len() as u64);
        self.network_time.fetch_max(frame.time.0, Ordering::Relaxed);
        if let Some(kind) = frame.malformed {
            let mut counts = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(kind).or_default() += 1;
        }
    }
}

/// The state of the server, as `/_simnet/state` returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// The URL of the server, such as `http://127.0.0.1:2583`.
    pub url: String,
    /// Frames that the network has sent since the start of the server.
    pub frames: u64,
    /// Events that a correct consumer derives from these frames.
    pub events: u64,
    /// Total size of these frames in bytes.
    pub bytes: u64,
    /// The newest sequence number in the window.
    pub newest_seq: u64,
    /// Frames up to this sequence number were not rendered, because clients have them or they are
    /// too old.
    pub skipped_seq: u64,
    /// Network time of the newest frame, in milliseconds since 1970.
    pub network_time_ms: u64,
    /// Frames in the window, which clients can read.
    pub window_frames: u64,
    /// Total size of these frames in bytes.
    pub window_bytes: u64,
    /// Whether the backlog is sent. From then on, slow clients are disconnected.
    pub caught_up: bool,
    /// Whether the network has made its last frame.
    pub ended: bool,
    /// Requests for the stream so far, including refused ones.
    pub connections: u64,
    /// Open streams.
    pub connections_open: u64,
    /// Clients that were disconnected because they were too slow.
    pub too_slow: u64,
    /// Requests for profiles.
    pub profile_requests: u64,
    /// Requests for profiles that were over the budget, or failed on purpose.
    pub profile_refusals: u64,
    /// Malformed frames by kind.
    pub bad: BTreeMap<&'static str, u64>,
    /// Connection faults that fired, by kind.
    pub faults: BTreeMap<&'static str, u64>,
}
