//! Faults planned by the frames of the stream. Each fires once, on the first connection that
//! reaches its frame.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Fault, PlannedFault};

/// Planned faults without a connection, and how far any client has read the stream.
#[derive(Debug, Default)]
pub(crate) struct AnyConnectionFaults {
    /// The faults that have not fired, in the order of their frames.
    planned: Mutex<VecDeque<PlannedFault>>,
    /// The largest number of frames of the stream sent to any client.
    frames_sent_max: AtomicU64,
}

impl AnyConnectionFaults {
    /// The faults of a plan that belong to no connection.
    pub(super) fn new(planned: &[PlannedFault]) -> Self {
        let belongs = |planned_fault: &&PlannedFault| {
            planned_fault.connection == 0 && planned_fault.fault != Fault::SeqReset
        };
        let mut planned: Vec<PlannedFault> = planned.iter().filter(belongs).copied().collect();
        planned.sort_by_key(|planned_fault| planned_fault.frames);
        Self {
            planned: Mutex::new(planned.into()),
            frames_sent_max: AtomicU64::new(0),
        }
    }

    /// Records that a client has been sent this many frames of the stream.
    pub(crate) fn on_frames_sent(&self, frames: u64) {
        self.frames_sent_max.fetch_max(frames, Ordering::Relaxed);
    }

    /// The next fault due for a connection that has been sent this many frames of the stream.
    pub(crate) fn next_due(&self, frames: u64) -> Option<Fault> {
        self.due(|planned_fault| {
            !planned_fault.fault.is_refusal() && planned_fault.frames <= frames
        })
    }

    /// The next refusal due instead of an upgrade.
    pub(crate) fn refusal(&self) -> Option<Fault> {
        let frames_sent_max = self.frames_sent_max.load(Ordering::Relaxed);
        self.due(|planned_fault| {
            planned_fault.fault.is_refusal() && planned_fault.frames <= frames_sent_max
        })
    }

    fn due(&self, is_due: impl Fn(&PlannedFault) -> bool) -> Option<Fault> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let index = planned.iter().position(is_due)?;
        planned
            .remove(index)
            .map(|planned_fault| planned_fault.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FaultPlan;

    #[test]
    fn a_fault_is_due_once_on_the_first_connection_past_its_frames() {
        let plan = FaultPlan::default()
            .on_any_connection(9, Fault::Drop)
            .on_any_connection(3, Fault::Http500)
            .on_any_connection(3, Fault::Text)
            .on_any_connection(1, Fault::SeqReset)
            .on_connection(1, 1, Fault::Close);
        let any_connection = AnyConnectionFaults::new(&plan.planned);
        assert_eq!(any_connection.next_due(2), None);
        assert_eq!(any_connection.next_due(5), Some(Fault::Text));
        assert_eq!(
            [any_connection.next_due(5), any_connection.refusal()],
            [None, None]
        );
        any_connection.on_frames_sent(3);
        any_connection.on_frames_sent(2);
        assert_eq!(any_connection.refusal(), Some(Fault::Http500));
        assert_eq!(any_connection.refusal(), None);
        assert_eq!(any_connection.next_due(9), Some(Fault::Drop));
        assert_eq!(any_connection.next_due(9), None);
    }
}
