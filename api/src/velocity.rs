//! Velocity: how much faster than usual something is counted: `(c + k) / (E + k)`.
//!
//! `c` is the count in a window. `E` is the count to expect in it: the count in the next longer
//! window, scaled by the ratio of the lengths of both windows. Both lengths are those really
//! covered: a window that starts before counting began is as long as the time since then. `k` damps
//! small counts: 0 counted and 0 expected gives 1, which means as usual.
//!
//! ```text
//!          since                                  as_of
//! 24h  ┆┄┄┄┄┄│━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━│   covered: 5 h, not 24
//! 1h                                       │━━━━━━━━│   covered: 1 h, so E = longer * 1/5
//! ```

use serde::Serialize;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use skytide_core::view::Window;

/// The damping `k`, in counts.
const DAMPING: f64 = 10.0;

/// The smallest count that has a velocity; below it the answer has `null`.
pub(crate) const SUPPORT_MIN: u32 = 5;

/// The span of network time that the rows of a commit cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    since: Timestamp,
    as_of: Timestamp,
}

/// A window with the part of it that is covered, as answers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoveredWindow {
    pub(crate) window: Window,
    /// The time from which the window counts.
    pub(crate) from: Timestamp,
    /// Whether counting began before the window started.
    pub(crate) filled: bool,
}

impl From<&Committed> for Coverage {
    fn from(committed: &Committed) -> Self {
        Self {
            since: committed.since,
            as_of: committed.time,
        }
    }
}

impl Coverage {
    /// The covered part of a window.
    pub(crate) fn window(self, window: Window) -> CoveredWindow {
        let start = window.start(self.as_of);
        CoveredWindow {
            window,
            from: start.max(self.since),
            filled: window == Window::All || self.since <= start,
        }
    }

    fn covered_ms(self, window: Window) -> u64 {
        self.as_of.0.saturating_sub(self.window(window).from.0)
    }

    /// The velocity of `count` in `window`, where `longer` is the count in the next longer window.
    /// It is rounded to three decimals. Returns `None` if there is no longer window, or if the
    /// count is below [`SUPPORT_MIN`].
    pub(crate) fn velocity(self, window: Window, count: u32, longer: u32) -> Option<f64> {
        let longer_ms = self.covered_ms(window.longer()?);
        if count < SUPPORT_MIN {
            return None;
        }
        let share = match longer_ms {
            0 => 1.0,
            _ => self.covered_ms(window) as f64 / longer_ms as f64,
        };
        let expected = f64::from(longer) * share;
        let velocity = (f64::from(count) + DAMPING) / (expected + DAMPING);
        Some((velocity * 1_000.0).round() / 1_000.0)
    }
}

impl Serialize for CoveredWindow {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut window = to.serialize_struct("window", 3)?;
        window.serialize_field("name", self.window.name())?;
        window.serialize_field("from", &self.from.rfc3339())?;
        window.serialize_field("filled", &self.filled)?;
        window.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn coverage(hours_counted: f64) -> Coverage {
        // 2026-07-04T12:59:59.999Z: the open minute, ten minutes and hour are almost complete.
        let as_of = Timestamp::parse("2026-07-04T12:59:59.999Z").unwrap();
        let since = Timestamp(as_of.0 - (hours_counted * HOUR as f64) as u64);
        Coverage { since, as_of }
    }

    #[test]
    fn velocity_is_as_computed_by_hand() {
        let days_30 = 720.0;
        let cases = [
            // (hours counted, window, count, longer) → (c + 10) / (E + 10)
            (days_30, Window::Hour, 30, 240, Some(2.0)), // E = 240/24 = 10: 40/20
            (days_30, Window::Day, 70, 490, Some(1.0)),  // E = 490/7 = 70: 80/80
            (days_30, Window::Week, 60, 60, Some(2.917)), // E = 60 * 168/720 = 14: 70/24
            (days_30, Window::Hour, 5, 5, Some(1.469)),  // E = 5/24: 15/10.2083
            (days_30, Window::Hour, 4, 4, None),         // below the minimum
            (days_30, Window::All, 500, 500, None),      // no longer window
            (5.0, Window::Hour, 20, 40, Some(1.667)),    // E = 40/5 = 8: 30/18
            (0.5, Window::Hour, 20, 20, Some(1.0)),      // both cover the same half hour
            (0.0, Window::Hour, 20, 20, Some(1.0)),      // nothing is covered yet
        ];
        for (hours, window, count, longer, expected) in cases {
            let velocity = coverage(hours).velocity(window, count, longer);
            assert_eq!(
                velocity, expected,
                "{hours} h, {window:?}, {count} of {longer}"
            );
        }
    }

    #[test]
    fn a_window_says_whether_it_is_filled() {
        let two_hours = coverage(2.0);
        assert!(two_hours.window(Window::Hour).filled);
        assert!(!two_hours.window(Window::Day).filled);
        assert_eq!(two_hours.window(Window::Day).from, two_hours.since);
        assert_eq!(
            two_hours.window(Window::Hour).from.rfc3339(),
            "2026-07-04T12:00:00.000Z"
        );
        assert!(two_hours.window(Window::All).filled);
    }
}
