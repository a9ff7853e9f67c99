//! Compares this machine's clock with those of servers. Ingest waits while the stream is ahead of the
//! clock, and the age of every answer is computed with it.

use std::time::Duration;

use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;

use super::finding::Finding;
use crate::clock::SystemClock;

const CHECK: &str = "clock";
/// An offset above this is reported, in milliseconds.
const WARN_MS: i64 = 2_000;
/// Above this, ingest stops reading (`docs/gotchas.md`), in milliseconds.
const PROBLEM_MS: i64 = 60_000;

/// The time at a server, compared with this machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The server.
    pub server: String,
    /// How far this machine is ahead of the server, in milliseconds; negative if it is behind.
    pub ahead_ms: i64,
    /// The offset may be wrong by this much, in milliseconds.
    pub precision_ms: i64,
}

/// Takes a reading.
pub struct ClockQuestion {
    asked: Timestamp,
    started: std::time::Instant,
}

impl ClockQuestion {
    /// Starts before the server is asked.
    pub fn start() -> Self {
        Self {
            asked: SystemClock.now(),
            started: std::time::Instant::now(),
        }
    }

    /// The reading, when the server has answered. `resolution`: the unit of its time; a time in
    /// seconds was truncated.
    pub fn end(self, server: &str, time: Timestamp, resolution: Duration) -> ClockReading {
        let waited_ms = self.started.elapsed().as_millis() as i64;
        let resolution_ms = resolution.as_millis() as i64;
        let theirs = time.0 as i64 + resolution_ms / 2;
        let ours = self.asked.0 as i64 + waited_ms / 2;
        ClockReading {
            server: server.to_owned(),
            ahead_ms: ours - theirs,
            precision_ms: waited_ms / 2 + resolution_ms / 2 + 1,
        }
    }
}

/// Judges the most precise of the readings.
pub fn check(readings: &[ClockReading]) -> Finding {
    let Some(best) = readings.iter().min_by_key(|reading| reading.precision_ms) else {
        return Finding::ok(CHECK, "not compared: no server reported its time");
    };
    let ClockReading {
        server,
        ahead_ms,
        precision_ms,
    } = best;
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let direction = if *ahead_ms < 0 { "behind" } else { "ahead of" };
    let offset = ahead_ms.abs();
    let found = format!(
        "{:.1} s {direction} {server}, within {:.1} s",
        seconds(offset),
        seconds(*precision_ms)
    );
    let fix = "synchronise the clock: chrony, systemd-timesyncd or another NTP client";
    let certain = offset - precision_ms;
    if certain > PROBLEM_MS {
        Finding::problem(CHECK, found, fix)
    } else if certain > WARN_MS {
        Finding::warning(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn reading(ahead_ms: i64, precision_ms: i64) -> ClockReading {
        ClockReading {
            server: "relay.example".to_owned(),
            ahead_ms,
            precision_ms,
        }
    }

    #[test]
    fn only_an_offset_beyond_the_precision_counts() {
        let level = |ahead, precision| check(&[reading(ahead, precision)]).level;
        assert_eq!(level(400, 600), Level::Ok);
        assert_eq!(level(-2_500, 600), Level::Ok);
        assert_eq!(level(-3_000, 600), Level::Warning);
        assert_eq!(level(3_000, 600), Level::Warning);
        assert_eq!(level(61_000, 10), Level::Problem);
        let both = [reading(90_000, 40_000), reading(5, 3)];
        assert_eq!(check(&both).level, Level::Ok, "the more precise one counts");
        assert_eq!(check(&[]).level, Level::Ok);
    }

    #[test]
    fn a_time_in_seconds_is_taken_as_the_middle_of_its_second() {
        let question = ClockQuestion::start();
        let truncated = Timestamp(question.asked.0 / 1_000 * 1_000);
        let reading = question.end("a", truncated, Duration::from_secs(1));
        assert!(
            reading.ahead_ms.abs() <= reading.precision_ms,
            "{reading:?}"
        );
        assert!(reading.precision_ms >= 500, "{reading:?}");
    }
}
