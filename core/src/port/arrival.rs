//! A time for each epoch, on its way from one part of a process to another: when its first frame
//! arrived, for example. Ingest records it, and the dataflow measures how long a frame takes to
//! become rows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::Epoch;

/// Maximum number of epochs that wait: almost an hour at 20 epochs a second.
pub const EPOCHS_MAX: usize = 65_536;

/// A queue of epochs with a time each, bounded by [`EPOCHS_MAX`]. Clones share it.
#[derive(Clone, Debug)]
pub struct EpochTimes<T>(Arc<Mutex<VecDeque<(Epoch, T)>>>);

impl<T> Default for EpochTimes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> EpochTimes<T> {
    /// Adds the time of the newest epoch. Entries of this and later epochs are replaced: ingest may
    /// cut an epoch again after an error of the log. A full queue keeps its older entries.
    pub fn record(&self, epoch: Epoch, time: T) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.pop_back_if(|(newest, _)| *newest >= epoch).is_some() {}
        if queue.len() < EPOCHS_MAX {
            queue.push_back((epoch, time));
        }
    }

    /// Removes the times of all epochs up to this one.
    pub fn take_through(&self, epoch: Epoch) -> Vec<T> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.partition_point(|(oldest, _)| *oldest <= epoch);
        queue.drain(..count).map(|(_, time)| time).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_up_to_an_epoch_once() {
        let times = EpochTimes::default();
        for epoch in [3, 4, 7] {
            times.record(Epoch(epoch), epoch * 10);
        }
        assert_eq!(times.take_through(Epoch(2)), []);
        assert_eq!(times.take_through(Epoch(4)), [30, 40]);
        assert_eq!(times.take_through(Epoch(6)), []);
        // The epochs from 6 on are cut again.
        times.record(Epoch(6), 61);
        times.record(Epoch(7), 71);
        assert_eq!(times.clone().take_through(Epoch(9)), [61, 71]);
    }

    #[test]
    fn a_full_queue_keeps_its_older_entries() {
        let times = EpochTimes::default();
        let more = EPOCHS_MAX as u64 + 5;
        (0..more).for_each(|epoch| times.record(Epoch(epoch), epoch));
        let kept = times.take_through(Epoch(more));
        assert_eq!((kept.len(), kept[0]), (EPOCHS_MAX, 0));
        times.record(Epoch(more), 1);
        assert_eq!(times.take_through(Epoch(more)), [1]);
    }
}
