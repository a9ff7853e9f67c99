//! Log lines on their way to standard error. A service writes them on a thread of its own: if the
//! reader of standard error stops reading, a write blocks for any time. That must not block the threads
//! that answer requests.
//!
//! ```text
//! threads of the service ─▶ queue, bounded in bytes ─▶ thread `log` ─▶ standard error
//!                    └─▶ log_tee ─▶ flight record
//!                              └ full: the line is dropped and counted, and a later line says so
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use skytide_core::port::size::{SizeReporter, StateSize};

use crate::log_tee;
use crate::progress::write_above_bar;
use crate::terminal::note;

/// Maximum bytes of the lines that wait.
const BYTES_MAX: usize = 1 << 20;
/// How long the end of the process waits for the last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The queue of this process; unset: lines are written at once.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();
/// Lines that were dropped since the process started.
static DROPPED: OnceLock<Counter> = OnceLock::new();

/// The number of log lines that were dropped, for the metrics.
pub fn dropped() -> Counter {
    DROPPED.get_or_init(Counter::default).clone()
}

/// The log lines that wait to be written.
pub struct LogLines;

impl SizeReporter for LogLines {
    fn sizes(&self) -> Vec<StateSize> {
        let (lines, bytes) = QUEUE.get().map_or((0, 0), LogQueue::size);
        vec![StateSize::new(
            "process.log_lines",
            lines,
            bytes,
            Some("SKYTIDE_LOG"),
        )]
    }
}

/// From now on writes log lines on a thread of its own.
///
/// # Errors
///
/// The system has no thread for it.
pub fn start() -> io::Result<()> {
    let queue = LogQueue::start(write_above_bar, dropped())?;
    // A second call keeps the queue of the first.
    let _queue = QUEUE.set(queue);
    Ok(())
}

/// Waits until the lines so far are written, for a second at most. To be called before the process
/// exits.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_MAX);
    }
}

/// Writes a line after the log lines so far. In a service this takes a second at most, also if
/// standard error accepts nothing. To be called before the process exits.
pub fn last_line(line: &str) {
    match QUEUE.get() {
        Some(queue) => {
            queue.push(format!("{line}\n").into_bytes());
            queue.flush(FLUSH_MAX);
        }
        None => note(line),
    }
}

/// A log line. It is written, or added to the queue, when it is dropped.
#[derive(Debug, Default)]
pub struct LogLine(Vec<u8>);

impl io::Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        log_tee::line(&self.0);
        match QUEUE.get() {
            Some(queue) => queue.push(std::mem::take(&mut self.0)),
            None => write_above_bar(&self.0),
        }
    }
}

/// Lines that wait for a thread that writes them. Clones share it.
#[derive(Clone)]
struct LogQueue {
    shared: Arc<Shared>,
    dropped: Counter,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Notified when a line was added, and when a line was written.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the thread is writing a line that is no longer in `lines`.
    is_writing: bool,
    /// Lines dropped since the last line that says so.
    dropped: u64,
}

impl LogQueue {
    /// Starts the thread.
    fn start(write: impl FnMut(&[u8]) + Send + 'static, dropped: Counter) -> io::Result<Self> {
        let queue = Self {
            shared: Arc::default(),
            dropped,
        };
        let thread = std::thread::Builder::new().name("log".to_owned());
        let writer = queue.clone();
        thread.spawn(move || writer.write_lines(write))?;
        Ok(queue)
    }

    /// The number of lines that wait, and their bytes.
    fn size(&self) -> (u64, u64) {
        let waiting = self.shared.lock();
        (waiting.lines.len() as u64, waiting.bytes as u64)
    }

    /// Adds a line; drops and counts it if too many bytes wait. Never waits for the output.
    fn push(&self, line: Vec<u8>) {
        let mut waiting = self.shared.lock();
        if waiting.bytes + line.len() > BYTES_MAX {
            waiting.dropped += 1;
            self.dropped.inc();
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        drop(waiting);
        self.shared.changed.notify_all();
    }

    /// Waits until no line waits; gives up after `time_max`.
    fn flush(&self, time_max: Duration) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        let waiting = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(waiting, time_max, is_busy);
        drop(waited);
    }

    /// Writes lines for as long as the process runs.
    fn write_lines(self, mut write: impl FnMut(&[u8])) {
        loop {
            let is_empty = |waiting: &mut Waiting| waiting.lines.is_empty();
            let waited = self.shared.changed.wait_while(self.shared.lock(), is_empty);
            let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(line) = waiting.lines.pop_front() else {
                continue;
            };
            waiting.bytes -= line.len();
            waiting.is_writing = true;
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            write(&line);
            if dropped > 0 {
                // Becomes a line of this queue, which has room again.
                tracing::warn!(
                    dropped,
                    "log lines were dropped, because standard error did not accept them in time"
                );
            }
            self.shared.lock().is_writing = false;
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_output_that_accepts_nothing_blocks_nobody_and_costs_counted_lines() {
        const LINE_BYTES: usize = 1 << 10;
        const LINES: usize = 3 * BYTES_MAX / LINE_BYTES;
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let mut is_first = true;
        let write = move |line: &[u8]| {
            if std::mem::take(&mut is_first) {
                started.send(()).expect("the test waits");
                let _released = released.recv();
            }
            written.send(line.to_vec()).expect("the test reads");
        };
        let dropped = Counter::default();
        let queue = LogQueue::start(write, dropped.clone()).expect("a thread");
        let line = |n: usize| format!("{n:0>LINE_BYTES$}").into_bytes();
        queue.push(line(0));
        has_started.recv().expect("the first line is being written");
        for n in 1..=LINES {
            queue.push(line(n));
        }
        let accepted = BYTES_MAX / LINE_BYTES;
        assert_eq!(dropped.get(), (LINES - accepted) as u64);
        release.send(()).expect("the writer waits");
        for n in 0..=accepted {
            assert!(lines.recv().expect("a line") == line(n), "line {n}");
        }
        // There is room again.
        queue.push(line(LINES + 1));
        assert!(lines.recv().expect("a line") == line(LINES + 1));
        queue.flush(Duration::from_secs(60));
        assert!(lines.try_recv().is_err());
        assert_eq!(dropped.get(), (LINES - accepted) as u64);
    }
}
