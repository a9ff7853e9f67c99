//! Counts the stream and prints a line for each million live records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use skytide::memory_report::ProcessMemory;
use skytide_core::port::size::MemoryReporter;
use skytide_dataflow::Metrics;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::disk::{folder_bytes, written_bytes};
use super::{Setting, result};
use crate::stream::Meter;
use crate::whole::{of_process, peak_bytes, rss_bytes};

/// Live records between two lines.
const LINE_RECORDS: i64 = 1_000_000;

/// The number of structures, of the largest ones, whose sizes follow each line.
const STRUCTURES: usize = 8;

/// Counts the whole stream, or up to the epoch at which the process is to be killed. It then ends
/// without closing anything.
pub fn run(setting: &Setting) {
    let threads = Runtime::new().expect("the runtime starts");
    threads.block_on(count(setting));
    println!();
    std::process::exit(0);
}

async fn count(setting: &Setting) {
    let log = setting.log();
    let meter = log.meter();
    let ports = setting.ports(log);
    let options = setting.options();
    let metrics = Metrics::register(&mut Registry::default(), options.workers);
    let memory = ProcessMemory::default();
    memory.add(metrics.clone());
    let mut table = Table::start(setting, metrics.clone(), meter, memory.clone());
    let run = skytide_dataflow::run(options, ports, metrics.clone(), CancellationToken::new());
    let run = tokio::spawn(run);
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let end = setting.end();
    while metrics.epoch.get() < end as i64 {
        look.tick().await;
        assert!(!run.is_finished(), "the dataflow ended: {:?}", run.await);
        table.look();
    }
    table.line();
    // The newest checkpoint completes while nothing else happens.
    while is_being_made(setting, &metrics) {
        look.tick().await;
    }
    table.results();
    println!();
    crate::memory::print(&memory, &metrics);
}

/// Whether a checkpoint that was due is not complete.
fn is_being_made(setting: &Setting, metrics: &Metrics) -> bool {
    let due = setting
        .checkpoint_events
        .is_some_and(|events| metrics.events.get() > events * 2);
    due && metrics.checkpoints.get() == 0 && metrics.checkpoint_failures.get() == 0
}

/// The counters at the previous line.
#[derive(Clone, Copy)]
struct Point {
    at: Instant,
    events: u64,
    /// Without generating the stream.
    cpu_seconds: f64,
    written: u64,
}

/// Prints the lines.
struct Table<'a> {
    setting: &'a Setting,
    metrics: Arc<Metrics>,
    meter: Arc<Meter>,
    memory: ProcessMemory,
    first: Point,
    last: Point,
    next_records: i64,
    epoch: i64,
    advanced: Instant,
    /// The longest time between two commits since the last line.
    longest_gap: Duration,
    /// The longest time from reading a tick to its commit: since the last line, and of live events.
    longest_epoch: Duration,
    longest_live_epoch: Duration,
    longest_pause: f64,
    peak_bytes: u64,
}

impl<'a> Table<'a> {
    fn start(
        setting: &'a Setting,
        metrics: Arc<Metrics>,
        meter: Arc<Meter>,
        memory: ProcessMemory,
    ) -> Self {
        println!(
            "{:>8}{:>10}{:>9}{:>8}{:>9}{:>10}{:>8}{:>8}{:>9}{:>8}{:>8}{:>9}{:>8}{:>8}",
            "live M",
            "events M",
            "events/s",
            "us/ev",
            "RSS MB",
            "acc. MB",
            "RSS B",
            "gap ms",
            "epoch ms",
            "ckpt s",
            "pause",
            "wr. B/ev",
            "state B",
            "rows B",
        );
        let first = point(&metrics, &meter);
        Self {
            setting,
            metrics,
            meter,
            memory,
            first,
            last: first,
            next_records: LINE_RECORDS,
            epoch: 0,
            advanced: Instant::now(),
            longest_gap: Duration::ZERO,
            longest_epoch: Duration::ZERO,
            longest_live_epoch: Duration::ZERO,
            longest_pause: 0.0,
            peak_bytes: 0,
        }
    }

    /// Looks at the progress; prints a line if another million of live records is reached.
    fn look(&mut self) {
        let epoch = self.metrics.epoch.get();
        if epoch > self.epoch {
            self.epoch = epoch;
            self.longest_gap = self.longest_gap.max(self.advanced.elapsed());
            self.advanced = Instant::now();
            let longest = self.meter.committed(epoch as u64);
            self.longest_epoch = self.longest_epoch.max(longest);
            if self.is_live() {
                self.longest_live_epoch = self.longest_live_epoch.max(longest);
            }
        }
        let pause = self.metrics.checkpoint_pause_seconds.get();
        self.longest_pause = self.longest_pause.max(pause);
        if self.metrics.live_records.get() >= self.next_records {
            self.line();
            self.next_records += LINE_RECORDS;
        }
    }

    /// Whether all events that were committed just now came at the live rate.
    fn is_live(&self) -> bool {
        let stream = self.setting.stream;
        // The epochs of the first second are those that were waiting before.
        let live = self
            .setting
            .live
            .map(|(events, rate)| events.saturating_sub(rate));
        let fast = live.map(|live| stream.events.saturating_sub(live) / stream.epoch_events);
        fast.is_some_and(|fast| self.epoch as u64 > fast)
    }

    fn line(&mut self) {
        let (now, last) = (point(&self.metrics, &self.meter), self.last);
        let totals = self.memory.totals();
        let resident = rss_bytes(std::process::id());
        self.peak_bytes = self.peak_bytes.max(resident);
        let live = self.metrics.live_records.get().max(1) as f64;
        let events = (now.events - last.events).max(1) as f64;
        println!(
            "{:>8.2}{:>10.2}{:>9.0}{:>8.2}{:>9.0}{:>10.0}{:>8.0}{:>8.0}{:>9.0}{:>8.1}{:>8.1}{:>9.0}{:>8.0}{:>8.0}",
            live / 1e6,
            now.events as f64 / 1e6,
            events / (now.at - last.at).as_secs_f64(),
            (now.cpu_seconds - last.cpu_seconds) / events * 1e6,
            resident as f64 / 1e6,
            totals.accounted_bytes as f64 / 1e6,
            resident as f64 / live,
            self.longest_gap.as_secs_f64() * 1e3,
            self.longest_epoch.as_secs_f64() * 1e3,
            self.metrics.checkpoint_seconds.get(),
            self.metrics.checkpoint_pause_seconds.get() * 1e3,
            (now.written - last.written) as f64 / events,
            folder_bytes(&self.setting.state_folder()) as f64 / live,
            folder_bytes(&self.setting.store_folder()) as f64 / live,
        );
        let structures = crate::memory::structures(&self.memory)
            .into_iter()
            .take(STRUCTURES);
        let structures = structures.map(|(name, _, bytes)| format!("{name} {}", bytes / 1_000_000));
        println!(
            "{:>10} {} MB",
            "",
            structures.collect::<Vec<_>>().join(", ")
        );
        self.last = now;
        (self.longest_gap, self.longest_epoch) = (Duration::ZERO, Duration::ZERO);
    }

    /// Prints the results that have targets (docs/benchmarks/README.md).
    fn results(&self) {
        let (first, last) = (self.first, self.last);
        let events = last.events.max(1) as f64;
        let seconds = (last.at - first.at).as_secs_f64();
        let cpu = last.cpu_seconds - first.cpu_seconds;
        let live = self.metrics.live_records.get().max(1) as f64;
        println!();
        result("live records", format!("{live:.0}"), "");
        let peak = peak_bytes(std::process::id()) as f64;
        let target = "10 M: 1.5 GB, 50 M: 3 GB, 270 M: 8.6 GB";
        result("peak RSS", format!("{:.2} GB", peak / 1e9), target);
        result("  per live record", format!("{:.0} bytes", peak / live), "");
        let target = "frames to rows 250,000; dataflow alone 400,000 at 10 M, 250,000, 150,000";
        result(
            "events/s, with the generator",
            format!("{:.0}", events / seconds),
            target,
        );
        result(
            "events per CPU second, without it",
            format!("{:.0}", events / cpu),
            "",
        );
        let generator = self.meter.cpu_seconds() / events * 1e6;
        result(
            "CPU of the generator",
            format!("{generator:.2} us/event"),
            "not in the above",
        );
        let written = (last.written - first.written) as f64 / events;
        result("bytes written per event", format!("{written:.0}"), "1,000");
        if self.setting.checkpoint_events.is_some() {
            let count = self.metrics.checkpoints.get();
            result("checkpoints", format!("{count}"), "");
            let took = self.metrics.checkpoint_seconds.get();
            result("  the newest one took", format!("{took:.1} s"), "");
            let pause = self.longest_pause * 1e3;
            result(
                "  longest pause by a cut",
                format!("{pause:.1} ms"),
                "10 ms",
            );
            let bytes = folder_bytes(&self.setting.state_folder()) as f64 / live;
            result(
                "state on disk per live record",
                format!("{bytes:.1} bytes"),
                "60 bytes",
            );
        }
        if self.setting.indexer_memory_max.is_some() {
            let runs = &self.metrics.runs;
            let evicted = runs.evicted.get() as f64 / live * 100.0;
            result("records only on disk", format!("{evicted:.0} %"), "");
            let early = runs.eviction_checkpoints.get();
            result("checkpoints for memory", format!("{early}"), "");
            let waited = self.metrics.memory_wait_seconds();
            result("counting stopped for memory", format!("{waited:.0} s"), "");
        }
        let rows = folder_bytes(&self.setting.store_folder()) as f64 / live;
        result(
            "rows on disk per live record",
            format!("{rows:.0} bytes"),
            "",
        );
        if let Some((_, rate)) = self.setting.live {
            let name = format!("longest epoch at {rate} events/s");
            let longest = self.longest_live_epoch.as_secs_f64() * 1e3;
            result(&name, format!("{longest:.0} ms"), "200 ms");
        }
    }
}

fn point(metrics: &Metrics, meter: &Meter) -> Point {
    Point {
        at: Instant::now(),
        events: metrics.events.get(),
        cpu_seconds: of_process(std::process::id()).seconds() - meter.cpu_seconds(),
        written: written_bytes(),
    }
}
