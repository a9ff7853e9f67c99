//! Network time: the running median of the times of the frames.

use std::collections::VecDeque;

use skytide_core::time::Timestamp;

/// The number of frames of the median. It is odd, so that the median is the time of one of them.
pub(crate) const WINDOW: usize = 31;

/// The clock of the stream. A single forged time has no effect: half of the last frames must agree.
///
/// Network time never goes back. With a ceiling (the machine's clock, for a live stream) it never
/// advances beyond that either. If it is already beyond, it stops. State: the last [`WINDOW`]
/// times.
#[derive(Debug)]
pub(crate) struct NetworkTime {
    /// The last times, in the order of arrival.
    last: VecDeque<Timestamp>,
    /// The same times, sorted.
    sorted: Vec<Timestamp>,
    now: Timestamp,
}

impl NetworkTime {
    /// A clock that shows `now` and has observed no frame.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self {
            last: VecDeque::with_capacity(WINDOW),
            sorted: Vec::with_capacity(WINDOW),
            now,
        }
    }

    /// Network time.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the window is full, so that the median does not depend on where reading started.
    pub(crate) fn is_full(&self) -> bool {
        self.last.len() == WINDOW
    }

    /// Adds the time of a frame to the window, without advancing the clock.
    pub(crate) fn observe(&mut self, time: Timestamp) {
        if self.last.len() == WINDOW
            && let Some(oldest) = self.last.pop_front()
            && let Ok(at) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(at);
        }
        self.last.push_back(time);
        let at = self.sorted.partition_point(|&other| other <= time);
        self.sorted.insert(at, time);
    }

    /// Advances the clock to the median of the window, but not back and not beyond `ceiling`.
    pub(crate) fn advance(&mut self, ceiling: Option<Timestamp>) {
        let median = self.median();
        let median = ceiling.map_or(median, |ceiling| median.min(ceiling));
        self.now = self.now.max(median);
    }

    /// The median of the window; 0 if it is empty.
    pub(crate) fn median(&self) -> Timestamp {
        let middle = self.sorted.len().saturating_sub(1) / 2;
        self.sorted.get(middle).copied().unwrap_or_default()
    }

    /// The newest time on which frames agree: the second newest of the window, or network time if
    /// that is later.
    pub(crate) fn newest_agreed(&self) -> Timestamp {
        let second = self.sorted.iter().rev().nth(1).copied();
        second.unwrap_or_default().max(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: &[u64], ceiling: Option<u64>) -> u64 {
        let mut time = NetworkTime::at(Timestamp(0));
        for &t in times {
            time.observe(Timestamp(t));
            time.advance(ceiling.map(Timestamp));
        }
        time.now().0
    }

    #[test]
    fn network_time_is_the_median_of_the_last_frames() {
        let mut noise = 7_u64;
        let times: Vec<u64> = (0..500)
            .map(|i| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1_000_000 + i * 10 + (noise >> 33) % 1_000
            })
            .collect();
        let mut highest = 0;
        for end in 1..=times.len() {
            let mut last = times[end.saturating_sub(WINDOW)..end].to_vec();
            last.sort_unstable();
            highest = highest.max(last[(last.len() - 1) / 2]);
            assert_eq!(after(&times[..end], None), highest, "after {end} frames");
        }
    }

    #[test]
    fn a_forged_time_has_no_effect_and_time_never_goes_back() {
        let steady = vec![5_000; WINDOW];
        for forged in [0, u64::MAX] {
            let mut times = steady.clone();
            times.extend([forged; WINDOW / 2]);
            assert_eq!(after(&times, None), 5_000);
        }
        let mut times = steady;
        times.extend([4_000; 2 * WINDOW]);
        assert_eq!(after(&times, None), 5_000);
    }

    #[test]
    fn time_never_passes_the_machines_clock() {
        assert_eq!(after(&[9_000; WINDOW], Some(8_000)), 8_000);
    }
}
