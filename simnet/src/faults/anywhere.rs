//! What is planned by the frames of the stream: it happens to whoever comes there first, once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Fault, Step};

/// Steps that belong to no connection, and how far anyone came.
#[derive(Debug, Default)]
pub(crate) struct Anywhere {
    /// Those that are left, in the order of their frames.
    steps: Mutex<VecDeque<Step>>,
    /// Frames of the stream that somebody was sent.
    reached: AtomicU64,
}

impl Anywhere {
    /// Those of a plan.
    pub(super) fn new(steps: &[Step]) -> Self {
        let ours = |step: &&Step| step.connection == 0 && step.fault != Fault::SeqReset;
        let mut steps: Vec<Step> = steps.iter().filter(ours).copied().collect();
        steps.sort_by_key(|step| step.frames);
        Self {
            steps: Mutex::new(steps.into()),
            reached: AtomicU64::new(0),
        }
    }

    /// Somebody was sent so many frames of the stream.
    pub(crate) fn reach(&self, frames: u64) {
        self.reached.fetch_max(frames, Ordering::Relaxed);
    }

    /// What happens to a connection that stands behind so many frames of the stream.
    pub(crate) fn take(&self, frames: u64) -> Option<Fault> {
        self.due(|step| !step.fault.is_refusal() && step.frames <= frames)
    }

    /// What happens instead of an upgrade.
    pub(crate) fn refusal(&self) -> Option<Fault> {
        let reached = self.reached.load(Ordering::Relaxed);
        self.due(|step| step.fault.is_refusal() && step.frames <= reached)
    }

    fn due(&self, is_due: impl Fn(&Step) -> bool) -> Option<Fault> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let place = steps.iter().position(is_due)?;
        steps.remove(place).map(|step| step.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Plan;

    #[test]
    fn a_step_is_due_once_to_whoever_is_behind_its_frames() {
        let plan = Plan::default()
            .anywhere(9, Fault::Drop)
            .anywhere(3, Fault::Http500)
            .anywhere(3, Fault::Text)
            .anywhere(1, Fault::SeqReset)
            .then(1, 1, Fault::Close);
        let anywhere = Anywhere::new(&plan.steps);
        assert_eq!(anywhere.take(2), None);
        assert_eq!(anywhere.take(5), Some(Fault::Text));
        assert_eq!([anywhere.take(5), anywhere.refusal()], [None, None]);
        anywhere.reach(3);
        anywhere.reach(2);
        assert_eq!(anywhere.refusal(), Some(Fault::Http500));
        assert_eq!(anywhere.refusal(), None);
        assert_eq!(anywhere.take(9), Some(Fault::Drop));
        assert_eq!(anywhere.take(9), None);
    }
}
