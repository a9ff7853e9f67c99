//! Finds the number of a message that is too large to receive.
//!
//! ```text
//! known ── bad: the message comes first after this cursor      good: it does not
//! gallop   bad + 1, + 2, + 4, ...  until one is good            bisect  between bad and good
//! ```
//!
//! Nothing of such a message is known but that it is the first one after the newest frame: not even its number, as numbers
//! may be left out before it. A cursor below its number brings it again, one from its number on does not. So a search
//! finds its number in at most twice as many connections as the gap has binary digits. Frames that a search sees too early are
//! not used: it ends at a cursor that leaves out this message and no other.

/// The highest cursor there is: a `seq` is a signed 64-bit integer.
const CURSOR_MAX: u64 = i64::MAX as u64;

/// A search under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    bad: u64,
    good: Option<u64>,
    step: u64,
}

impl Search {
    /// The message comes first after this cursor.
    pub(super) fn after(bad: u64) -> Self {
        Self {
            bad,
            good: None,
            step: 1,
        }
    }

    /// The cursor to try.
    pub(super) fn cursor(&self) -> u64 {
        let wanted = match self.good {
            None => self.bad.saturating_add(self.step),
            Some(good) if good - self.bad > 1 => self.bad + (good - self.bad) / 2,
            Some(good) => good,
        };
        wanted.min(CURSOR_MAX)
    }

    /// The message came first again.
    pub(super) fn came_again(&mut self) {
        self.bad = self.cursor();
        self.step = self.step.saturating_mul(2);
        // The relay answered otherwise before: the upper end was wrong.
        if self.good.is_some_and(|good| good <= self.bad) {
            *self = Self::after(self.bad);
        }
    }

    /// Something else came first, or nothing. Answers whether only the message itself is left out at this cursor.
    pub(super) fn passed(&mut self) -> bool {
        let cursor = self.cursor();
        self.good = Some(cursor);
        cursor <= self.bad.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches in a stream with this message; answers the cursor found and the number of connections.
    fn search(newest: u64, message: u64) -> (u64, u32) {
        let mut search = Search::after(newest);
        for connections in 1.. {
            let cursor = search.cursor();
            if cursor < message {
                search.came_again();
            } else if search.passed() {
                return (cursor, connections);
            }
        }
        unreachable!("it ends")
    }

    #[test]
    fn the_message_and_no_other_is_left_out_after_a_few_connections_whatever_the_gap() {
        let gaps = (0..200).chain((8..63).flat_map(|bits| [(1 << bits) - 1, 1 << bits]));
        for gap in gaps {
            for newest in [0, 7, 31_527_015_322] {
                let message = newest + gap + 1;
                if message > CURSOR_MAX {
                    continue;
                }
                let (cursor, connections) = search(newest, message);
                assert_eq!(cursor, message, "gap {gap}");
                let digits = u64::BITS - gap.leading_zeros();
                assert!(
                    connections <= 2 * digits + 2,
                    "gap {gap}: {connections} connections"
                );
            }
        }
    }

    #[test]
    fn a_relay_that_answered_otherwise_before_only_makes_the_search_longer() {
        // It took the message for passed at 11, as nothing came for a while. The message is 1,000.
        let mut search = Search::after(10);
        assert!(search.passed());
        let mut connections = 0;
        loop {
            connections += 1;
            if search.cursor() < 1_000 {
                search.came_again();
            } else if search.passed() {
                break;
            }
        }
        assert_eq!(search.cursor(), 1_000);
        assert!(connections <= 2 * 10 + 3, "{connections}");
    }
}
