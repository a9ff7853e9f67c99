//! Reports to health checks whether ingest can read, and if not, why.

use std::sync::{Arc, Mutex, PoisonError};

/// What prevents ingest from reading. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    clock_behind_ms: Option<u64>,
    stuck: Option<String>,
    untimed: bool,
}

impl Status {
    /// Why no frames are counted at present; `None` if they are counted.
    pub fn problem(&self) -> Option<String> {
        let state = self.lock();
        match (state.clock_behind_ms, &state.stuck) {
            (Some(ms), _) => Some(format!(
                "reading has stopped: this machine's clock is {} s behind the stream's time",
                ms / 1_000
            )),
            (None, Some(why)) => Some(format!("reading is stuck: {why}")),
            (None, None) => None,
        }
    }

    /// How far this machine's clock is behind the stream's time, in ms, while that stops reading;
    /// `None` if it does not.
    pub fn clock_behind_ms(&self) -> Option<u64> {
        self.lock().clock_behind_ms
    }

    /// A remark on the stream that does not prevent frames from being counted.
    pub fn remark(&self) -> Option<&'static str> {
        let untimed = self.lock().untimed;
        untimed.then_some("its frames have no readable time, this machine's clock is used")
    }

    pub(crate) fn clock_behind(&self, ms: Option<u64>) {
        self.lock().clock_behind_ms = ms;
    }

    /// Sets why the source is stuck; `None` if it is not.
    pub fn stuck(&self, why: Option<String>) {
        self.lock().stuck = why;
    }

    pub(crate) fn untimed(&self, untimed: bool) {
        self.lock().untimed = untimed;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
