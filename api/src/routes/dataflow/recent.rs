//! What the dataflow did in the last seconds: the differences between its counters now and those
//! that an earlier request read.
//!
//! The history grows by requests only: it has no task of its own, and a process that nobody looks
//! at does no work for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skytide_core::port::graph::{Progress, Traffic, WorkerReport};

/// The shortest interval that is used if an older reading exists, in seconds.
const INTERVAL_SECONDS: f64 = 5.0;
/// The shortest interval that is used at all: workers report once a second.
const INTERVAL_SECONDS_MIN: f64 = 0.9;
/// The longest interval. An older reading says nothing about the last seconds.
const INTERVAL_SECONDS_MAX: f64 = 30.0;
/// A dataflow that is so many seconds younger than at the last reading was started again.
const RESTART_SECONDS_MIN: f64 = 1.0;
/// The shortest time between two readings that are kept. It bounds their number.
const SPACING_SECONDS: f64 = 1.0;
/// The shortest time between two readings of sizes, and how long they are kept. Tables grow slowly.
const SIZE_SPACING_SECONDS: f64 = 15.0;
const SIZE_AGE_SECONDS_MAX: f64 = 600.0;

/// The newest reports of a dataflow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(super) reports: Vec<Arc<WorkerReport>>,
    pub(super) progress: Option<Progress>,
}

/// What the dataflow did in an interval that ends now.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The differences of the counters. `running_seconds` is the length of the interval as the
    /// worker measured it. Sizes are those of now.
    pub workers: Vec<Arc<WorkerReport>>,
    /// The differences of the counters; the rest is of now.
    pub progress: Option<Progress>,
    /// The length of the interval.
    pub seconds: f64,
    /// Whether the interval is the whole run, because nobody has read the counters in the last 30
    /// seconds.
    pub is_whole_run: bool,
    /// How the structures in memory have changed.
    pub growth: Vec<Growth>,
}

/// How the size of a structure has changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Growth {
    /// Its name, such as `live_records.table`.
    pub name: String,
    /// The option that changes its size.
    pub option: Option<String>,
    /// Its size before, in bytes, and now; the sum of all workers.
    pub before: u64,
    /// See `before`.
    pub now: u64,
    /// The length of the time in between.
    pub seconds: f64,
}

/// The readings of earlier requests. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataflowHistory(Arc<Mutex<History>>);

#[derive(Debug, Default)]
struct History {
    readings: VecDeque<Reading>,
    sizes: VecDeque<(f64, BTreeMap<String, u64>)>,
}

impl DataflowHistory {
    /// Makes a reading, and returns it with what has happened since an earlier one. `None` if
    /// `read` returns none. Readings are made one after the other: of two at the same time, the
    /// older one could be added last.
    pub(super) fn read(&self, read: impl FnOnce() -> Option<Reading>) -> Option<(Reading, Recent)> {
        let mut history = self.lock();
        let now = read()?;
        if history
            .readings
            .back()
            .is_some_and(|last| last.is_of_other_run(&now))
        {
            // The dataflow was started again.
            *history = History::default();
        }
        history.forget_before(now.seconds() - INTERVAL_SECONDS_MAX);
        let base = history.base(&now);
        let growth = history.growth(&now);
        history.keep(now.clone());
        drop(history);
        let mut recent = now.since(base.as_ref());
        recent.growth = growth;
        Some((now, recent))
    }

    /// Adds a reading that was made, for tests.
    #[cfg(test)]
    pub(super) fn add(&self, now: Reading) -> Recent {
        let added = self.read(|| Some(now));
        added.expect("a reading").1
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Drops the readings from before this second.
    fn forget_before(&mut self, seconds: f64) {
        while let Some(oldest) = self.readings.front()
            && oldest.seconds() < seconds
        {
            self.readings.pop_front();
        }
    }

    /// The newest reading that is old enough, else the oldest one. `None`: none is usable.
    fn base(&self, now: &Reading) -> Option<Reading> {
        let age = |reading: &Reading| now.seconds() - reading.seconds();
        let mut from_new = self.readings.iter().rev();
        let base = from_new.find(|reading| age(reading) >= INTERVAL_SECONDS);
        let base = base.or(self.readings.front());
        base.filter(|reading| age(reading) >= INTERVAL_SECONDS_MIN)
            .cloned()
    }

    fn growth(&mut self, now: &Reading) -> Vec<Growth> {
        let seconds = now.seconds();
        let sizes = now.sizes();
        while let Some((at, _)) = self.sizes.front()
            && seconds - at > SIZE_AGE_SECONDS_MAX
        {
            self.sizes.pop_front();
        }
        let is_due = |(at, _): &(f64, _)| seconds - at >= SIZE_SPACING_SECONDS;
        if self.sizes.back().is_none_or(is_due) {
            let bytes = sizes
                .iter()
                .map(|(name, (bytes, _))| (name.clone(), *bytes));
            self.sizes.push_back((seconds, bytes.collect()));
        }
        let Some((at, before)) = self.sizes.front() else {
            return Vec::new();
        };
        let changed = sizes.into_iter().map(|(name, (now, option))| Growth {
            before: before.get(&name).copied().unwrap_or_default(),
            name,
            option,
            now,
            seconds: seconds - at,
        });
        changed.collect()
    }

    fn keep(&mut self, now: Reading) {
        let seconds = now.seconds();
        let is_due = |last: &Reading| seconds - last.seconds() >= SPACING_SECONDS;
        if self.readings.back().is_none_or(is_due) {
            self.readings.push_back(now);
        }
        while let Some(second) = self.readings.get(1)
            && seconds - second.seconds() >= INTERVAL_SECONDS
        {
            self.readings.pop_front();
        }
    }
}

impl Reading {
    /// When it was made, in seconds since the start of the dataflow.
    fn seconds(&self) -> f64 {
        let workers = self.reports.iter().map(|report| report.running_seconds);
        match &self.progress {
            Some(progress) => progress.running_seconds,
            None => workers.fold(0.0, f64::max),
        }
    }

    /// Whether a later reading is of another run than this one: its workers are much younger, or
    /// others.
    fn is_of_other_run(&self, later: &Self) -> bool {
        let falls = |before: &WorkerReport, now: &WorkerReport| {
            before.worker != now.worker
                || now.running_seconds + RESTART_SECONDS_MIN < before.running_seconds
                || now.operators.len() < before.operators.len()
        };
        let mut pairs = self.reports.iter().zip(&later.reports);
        later.reports.len() < self.reports.len() || pairs.any(|(before, now)| falls(before, now))
    }

    /// The bytes of each structure of the workers, and its option.
    fn sizes(&self) -> BTreeMap<String, (u64, Option<String>)> {
        let mut sizes = BTreeMap::<String, (u64, Option<String>)>::new();
        for size in self.reports.iter().flat_map(|report| &report.state) {
            let (bytes, option) = sizes.entry(size.name.to_string()).or_default();
            *bytes += size.bytes;
            *option = size.option.as_deref().map(str::to_owned);
        }
        sizes
    }

    /// What has happened since an earlier reading, or since the start of the dataflow.
    fn since(&self, base: Option<&Self>) -> Recent {
        let zero = WorkerReport::default();
        let workers = self.reports.iter().map(|now| {
            let before = base.and_then(|base| {
                let mut reports = base.reports.iter();
                reports.find(|before| before.worker == now.worker)
            });
            Arc::new(difference(now, before.map_or(&zero, |before| before)))
        });
        let before = base.and_then(|base| base.progress);
        Recent {
            workers: workers.collect(),
            progress: self
                .progress
                .map(|now| progress_since(&now, &before.unwrap_or_default())),
            seconds: self.seconds() - base.map_or(0.0, Self::seconds),
            is_whole_run: base.is_none(),
            growth: Vec::new(),
        }
    }
}

/// The differences of all counters of a worker.
fn difference(now: &WorkerReport, before: &WorkerReport) -> WorkerReport {
    let seconds = |of: fn(&WorkerReport) -> f64| (of(now) - of(before)).max(0.0);
    let operators: BTreeMap<&[usize], _> = before
        .operators
        .iter()
        .map(|operator| (&operator.address[..], operator))
        .collect();
    let channels: BTreeMap<usize, _> = before
        .channels
        .iter()
        .map(|channel| (channel.number, channel))
        .collect();
    let mut changed = now.clone();
    for operator in &mut changed.operators {
        if let Some(before) = operators.get(&operator.address[..]) {
            operator.busy_seconds = (operator.busy_seconds - before.busy_seconds).max(0.0);
            operator.activations = operator.activations.saturating_sub(before.activations);
            operator.input = traffic(operator.input, before.input);
            operator.output = traffic(operator.output, before.output);
        }
    }
    for channel in &mut changed.channels {
        if let Some(before) = channels.get(&channel.number) {
            channel.sent = traffic(channel.sent, before.sent);
            channel.received = traffic(channel.received, before.received);
        }
    }
    let cpu = now.cpu_seconds;
    WorkerReport {
        running_seconds: seconds(|it| it.running_seconds),
        busy_seconds: seconds(|it| it.busy_seconds),
        parked_seconds: seconds(|it| it.parked_seconds),
        step_seconds: seconds(|it| it.step_seconds),
        feed_seconds: seconds(|it| it.feed_seconds),
        consolidate_seconds: seconds(|it| it.consolidate_seconds),
        commit_wait_seconds: seconds(|it| it.commit_wait_seconds),
        batch_wait_seconds: seconds(|it| it.batch_wait_seconds),
        cut_seconds: seconds(|it| it.cut_seconds),
        other_seconds: seconds(|it| it.other_seconds),
        cpu_seconds: cpu.map(|now| (now - before.cpu_seconds.unwrap_or_default()).max(0.0)),
        ..changed
    }
}

fn traffic(now: Traffic, before: Traffic) -> Traffic {
    Traffic {
        messages: now.messages.saturating_sub(before.messages),
        records: now.records.saturating_sub(before.records),
    }
}

fn progress_since(now: &Progress, before: &Progress) -> Progress {
    Progress {
        running_seconds: now.running_seconds - before.running_seconds,
        events: now.events.saturating_sub(before.events),
        rows: now.rows.saturating_sub(before.rows),
        commits: now.commits.saturating_sub(before.commits),
        commit_seconds: (now.commit_seconds - before.commit_seconds).max(0.0),
        commit_retries: now.commit_retries.saturating_sub(before.commit_retries),
        ..*now
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::port::graph::OperatorReport;
    use skytide_core::port::size::StateSize;

    use super::*;

    /// One worker at a second of its run: it is busy half of the time, and its operator receives
    /// 10 records a second.
    fn at(seconds: f64, bytes: u64) -> Reading {
        let operator = OperatorReport {
            address: vec![0, 1],
            busy_seconds: seconds / 4.0,
            input: Traffic {
                messages: 1,
                records: (seconds * 10.0) as u64,
            },
            ..OperatorReport::default()
        };
        let report = WorkerReport {
            running_seconds: seconds,
            busy_seconds: seconds / 2.0,
            operators: vec![operator],
            state: vec![StateSize {
                name: "table".into(),
                worker: Some(0),
                entries: 1,
                bytes,
                option: Some("OPTION".into()),
            }],
            ..WorkerReport::default()
        };
        Reading {
            reports: vec![Arc::new(report)],
            progress: Some(Progress {
                running_seconds: seconds,
                events: (seconds * 100.0) as u64,
                ..Progress::default()
            }),
        }
    }

    #[test]
    fn an_interval_begins_at_the_newest_reading_that_is_five_seconds_old() {
        let history = DataflowHistory::default();
        let first = history.add(at(100.0, 0));
        assert!(first.is_whole_run);
        assert_eq!(first.seconds, 100.0);
        // Workers report once a second, so a shorter interval shows nothing.
        assert!(history.add(at(100.5, 0)).is_whole_run);
        let second = history.add(at(102.0, 0));
        assert_eq!((second.seconds, second.is_whole_run), (2.0, false));
        assert_eq!(second.workers[0].busy_seconds, 1.0);
        assert_eq!(second.workers[0].operators[0].busy_seconds, 0.5);
        assert_eq!(second.workers[0].operators[0].input.records, 20);
        assert_eq!(second.progress.map(|it| it.events), Some(200));
        for seconds in [104.0, 106.0] {
            history.add(at(seconds, 0));
        }
        assert_eq!(history.add(at(108.0, 0)).seconds, 6.0);
        let kept = history.lock().readings.len();
        assert!(kept <= 4, "{kept} readings");
        // What was read minutes ago is not compared with.
        let late = history.add(at(500.0, 0));
        assert_eq!((late.seconds, late.is_whole_run), (500.0, true));
        let next = history.add(at(501.0, 0));
        assert_eq!((next.seconds, next.is_whole_run), (1.0, false));
    }

    /// Two requests at the same time: the one that reads first must also be the first to compare.
    #[test]
    fn requests_at_the_same_time_read_one_after_the_other() {
        let history = DataflowHistory::default();
        history.add(at(100.0, 0));
        let (reads, second) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let first = history.read(|| {
                let history = history.clone();
                scope.spawn(move || {
                    let read = || {
                        reads.send(()).expect("the test waits");
                        Some(at(107.0, 0))
                    };
                    history.read(read)
                });
                assert!(second.try_recv().is_err(), "the first has not ended");
                Some(at(106.0, 0))
            });
            let (_, recent) = first.expect("a reading");
            assert_eq!((recent.seconds, recent.is_whole_run), (6.0, false));
        });
        second.recv().expect("the second request");
        assert_eq!(history.add(at(113.0, 0)).seconds, 6.0);
    }

    #[test]
    fn a_counter_that_is_a_little_lower_is_no_restart() {
        let history = DataflowHistory::default();
        history.add(at(100.0, 0));
        history.add(at(106.0, 0));
        assert!(!history.add(at(105.9, 0)).is_whole_run);
    }

    #[test]
    fn a_restart_begins_a_new_history() {
        let history = DataflowHistory::default();
        history.add(at(100.0, 0));
        history.add(at(110.0, 0));
        let restarted = history.add(at(3.0, 0));
        assert!(restarted.is_whole_run);
        assert_eq!(restarted.workers[0].busy_seconds, 1.5);
        assert_eq!(history.add(at(5.0, 0)).seconds, 2.0);
    }

    #[test]
    fn growth_is_measured_over_minutes() {
        let history = DataflowHistory::default();
        history.add(at(10.0, 1_000));
        for step in 1..=100_u32 {
            history.add(at(10.0 + f64::from(step), 1_000 + u64::from(step)));
        }
        let [growth] = &history.add(at(130.0, 5_000)).growth[..] else {
            panic!("one structure");
        };
        assert_eq!((growth.before, growth.now), (1_000, 5_000));
        assert_eq!(growth.seconds, 120.0);
        assert_eq!(growth.option.as_deref(), Some("OPTION"));
        // What is older than ten minutes does not count.
        let [growth] = &history.add(at(1_000.0, 6_000)).growth[..] else {
            panic!("one structure");
        };
        assert_eq!((growth.before, growth.seconds), (6_000, 0.0));
    }
}
