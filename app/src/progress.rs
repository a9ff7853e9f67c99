//! The progress of a replay: a bar on a terminal, else a line every few seconds.
//!
//! Ingest runs ahead of the dataflow, with the log in between. The progress shown is that of the
//! dataflow. So a mark records for each durable epoch how much ingest had read, and the mark of the
//! newest committed epoch is shown.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use skytide_dataflow::Metrics;
use skytide_ingest::Progress;
use tokio::time::interval;

use crate::terminal::note;

/// Interval between two updates of the bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two lines if there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);
/// The bar that is shown, if any. Log lines are written above it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The progress of a replay.
pub struct ReplayProgress {
    started: Instant,
    /// Size of the recordings, in bytes; `None` for a pipe.
    bytes: Option<u64>,
    dataflow: Arc<Metrics>,
    marks: Mutex<Marks>,
}

/// What ingest had read at the ends of epochs.
#[derive(Debug, Default)]
struct Marks {
    /// Durable epochs that are not committed yet, in order.
    uncommitted: VecDeque<Mark>,
    /// The newest committed epoch.
    committed: Mark,
}

/// What ingest had read at the end of an epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    epoch: u64,
    bytes: u64,
    frames: u64,
}

impl ReplayProgress {
    /// Starts the clock. `bytes`: the size of the recordings, if it is known.
    pub fn new(dataflow: Arc<Metrics>, bytes: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            bytes,
            dataflow,
            marks: Mutex::default(),
        }
    }

    /// When the replay started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Records that ingest wrote an epoch.
    pub fn on_durable(&self, progress: &Progress) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.uncommitted.push_back(Mark {
            epoch: progress.epoch.0,
            bytes: progress.source_bytes_read,
            frames: progress.position.frames,
        });
    }

    /// Shows the progress until the future is dropped.
    pub async fn show(&self) -> Infallible {
        if io::stderr().is_terminal() {
            self.show_bar().await
        } else {
            self.show_lines().await
        }
    }

    async fn show_bar(&self) -> Infallible {
        let style = ProgressStyle::with_template(match self.bytes {
            Some(_) => "{bar:40} {percent:>3} %  {msg}  {elapsed} elapsed, {eta} left",
            None => "{spinner} {bytes} read  {msg}  {elapsed} elapsed",
        });
        let bar = match self.bytes {
            Some(bytes) => ProgressBar::new(bytes),
            None => ProgressBar::new_spinner(),
        };
        let bar = bar.with_style(style.expect("a valid template"));
        let _shown = ShownBar::new(bar.clone());
        let mut due = interval(BAR_INTERVAL);
        loop {
            due.tick().await;
            let mark = self.committed();
            bar.set_position(mark.bytes.min(self.bytes.unwrap_or(u64::MAX)));
            bar.set_message(self.numbers(mark));
        }
    }

    async fn show_lines(&self) -> Infallible {
        let mut due = interval(LINE_INTERVAL);
        due.tick().await;
        loop {
            due.tick().await;
            let mark = self.committed();
            let numbers = self.numbers(mark);
            let line = match self.bytes {
                Some(bytes) => {
                    let percent = (mark.bytes * 100).checked_div(bytes).unwrap_or_default();
                    format!("{percent} %, {numbers}{}", self.time_left(mark, bytes))
                }
                None => format!("{} read, {numbers}", HumanBytes(mark.bytes)),
            };
            note(&format!("replay: {line}"));
        }
    }

    fn numbers(&self, mark: Mark) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.dataflow.events.get() as f64 / seconds.max(0.001);
        let (frames, rate) = (HumanCount(mark.frames), HumanCount(rate as u64));
        format!("{frames} frames, {rate} events/s")
    }

    /// The time left at the average rate so far, as text. Empty at the start.
    fn time_left(&self, mark: Mark, bytes: u64) -> String {
        if mark.bytes == 0 {
            return String::new();
        }
        let seconds_per_byte = self.started.elapsed().as_secs_f64() / mark.bytes as f64;
        let seconds = seconds_per_byte * bytes.saturating_sub(mark.bytes) as f64;
        format!(", {} left", HumanDuration(Duration::from_secs_f64(seconds)))
    }

    /// The mark of the newest committed epoch.
    fn committed(&self) -> Mark {
        let epoch = u64::try_from(self.dataflow.epoch.get()).unwrap_or_default();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mark) = marks.uncommitted.pop_front_if(|mark| mark.epoch <= epoch) {
            marks.committed = mark;
        }
        marks.committed
    }
}

/// A guard that removes the bar when it is dropped.
struct ShownBar(ProgressBar);

impl ShownBar {
    fn new(bar: ProgressBar) -> Self {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }
}

impl Drop for ShownBar {
    fn drop(&mut self) {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.finish_and_clear();
    }
}

/// Writes log lines to standard error, above the bar if one is shown.
pub fn write_above_bar(lines: &[u8]) {
    let write = || {
        // If standard error is closed, there is no place to report that.
        let _closed = io::stderr().write_all(lines);
    };
    match &*SHOWN.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
