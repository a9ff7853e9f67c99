//! How far a replay is: a bar on a terminal, else a line every few seconds.
//!
//! Ingest runs ahead of the dataflow, with the log in between; what counts is what is committed. So
//! each durable epoch leaves a mark, and the newest one that is committed tells how far it is.

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

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);
/// The bar that is shown, if any: what is logged goes above it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How far a replay is.
pub struct Replaying {
    started: Instant,
    /// Bytes that there are in all; `None`: a pipe does not say.
    bytes: Option<u64>,
    dataflow: Arc<Metrics>,
    marks: Mutex<Marks>,
}

/// What was durable at the ends of epochs.
#[derive(Debug, Default)]
struct Marks {
    ahead: VecDeque<Mark>,
    committed: Mark,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    epoch: u64,
    bytes: u64,
    frames: u64,
}

impl Replaying {
    /// Begins now, with so many bytes to read, if that is known.
    pub fn new(dataflow: Arc<Metrics>, bytes: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            bytes,
            dataflow,
            marks: Mutex::default(),
        }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Ingest wrote an epoch.
    pub fn durable(&self, progress: &Progress) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.ahead.push_back(Mark {
            epoch: progress.epoch.0,
            bytes: progress.source_bytes_read,
            frames: progress.position.frames,
        });
    }

    /// Shows it, for as long as this is awaited.
    pub async fn show(&self) -> Infallible {
        if io::stderr().is_terminal() {
            self.show_bar().await
        } else {
            self.show_lines().await
        }
    }

    async fn show_bar(&self) -> Infallible {
        let style = ProgressStyle::with_template(match self.bytes {
            Some(_) => "{bar:40} {percent:>3} %  {msg}  {elapsed} gone, {eta} left",
            None => "{spinner} {bytes} read  {msg}  {elapsed} gone",
        });
        let bar = match self.bytes {
            Some(bytes) => ProgressBar::new(bytes),
            None => ProgressBar::new_spinner(),
        };
        let bar = bar.with_style(style.expect("the template is right"));
        let _shown = Shown::new(bar.clone());
        let mut due = interval(BAR_EVERY);
        loop {
            due.tick().await;
            let mark = self.committed();
            bar.set_position(mark.bytes.min(self.bytes.unwrap_or(u64::MAX)));
            bar.set_message(self.numbers(mark));
        }
    }

    async fn show_lines(&self) -> Infallible {
        let mut due = interval(LINE_EVERY);
        due.tick().await;
        loop {
            due.tick().await;
            let mark = self.committed();
            let numbers = self.numbers(mark);
            let line = match self.bytes {
                Some(bytes) => {
                    let percent = (mark.bytes * 100).checked_div(bytes).unwrap_or_default();
                    format!("{percent} %, {numbers}{}", self.left(mark, bytes))
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

    /// The rest at the pace so far; nothing at the start.
    fn left(&self, mark: Mark, bytes: u64) -> String {
        if mark.bytes == 0 {
            return String::new();
        }
        let pace = self.started.elapsed().as_secs_f64() / mark.bytes as f64;
        let rest = pace * bytes.saturating_sub(mark.bytes) as f64;
        format!(", {} left", HumanDuration(Duration::from_secs_f64(rest)))
    }

    /// The newest mark that is committed.
    fn committed(&self) -> Mark {
        let epoch = u64::try_from(self.dataflow.epoch.get()).unwrap_or_default();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mark) = marks.ahead.pop_front_if(|mark| mark.epoch <= epoch) {
            marks.committed = mark;
        }
        marks.committed
    }
}

/// A bar that is shown until this is dropped.
struct Shown(ProgressBar);

impl Shown {
    fn new(bar: ProgressBar) -> Self {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.finish_and_clear();
    }
}

/// Writes to standard error; if a bar is shown, above it.
#[derive(Debug, Default)]
pub struct AboveBar(Vec<u8>);

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for AboveBar {
    fn drop(&mut self) {
        let write = || {
            // Where standard error is closed there is nobody to tell.
            let _closed = io::stderr().write_all(&self.0);
        };
        match &*SHOWN.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}
