//! The same log counted by one process with two workers, and by two processes with one worker each, connected over the loopback
//! interface; and how fast the process that leads can read the log and pass it on. `SKYTIDE_BENCH_CLUSTER_EVENTS` sets how
//! many events, `SKYTIDE_BENCH_CLUSTER_ROUNDS` how often.
//!
//! The log is on this machine's disk; the store keeps no rows: it is not what is measured here.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::registry::Registry;
use skytide::cluster::Place;
use skytide::embedded::{EmbeddedLog, LogOptions};
use skytide_core::config;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::Log;
use skytide_dataflow::{DataflowError, Links, Metrics, Options, Ports};
use skytide_tests::servers::free_port;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::restart::{Rowless, Synthetic};
use crate::whole::{of_process, rss_bytes};

/// Set for a process of this program that counts: its number, the workers of each process, the hosts.
const CHILD: &str = "BENCH_COUNTS";

/// Events of an epoch.
const EVENTS: u64 = 2_000;

/// What one process used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    seconds: f64,
    events: f64,
    cpu: f64,
    memory: f64,
    sent: f64,
    received: f64,
}

/// Whether this process is to count, and then does.
pub fn counts() -> bool {
    let Ok(text) = std::env::var(CHILD) else {
        return false;
    };
    let mut words = text.split(' ');
    let mut word = || words.next().expect("process, workers, hosts, folder");
    let (process, workers) = (word().parse().expect("one"), word().parse().expect("one"));
    let hosts = word().split(',').filter(|it| !it.is_empty());
    let options = config::Cluster {
        hosts: hosts.map(|it| it.parse().expect("a host")).collect(),
        process,
        ..config::Cluster::default()
    };
    count(&options, workers, word().as_ref());
    true
}

/// Counts the log, or lends workers to who does, and prints what that took.
fn count(options: &config::Cluster, workers: usize, folder: &Path) {
    let processes = options.hosts.len().max(1);
    let metrics = Metrics::register(&mut Registry::default(), workers * processes);
    let never = CancellationToken::new();
    let threads = Runtime::new().expect("the runtime starts");
    let place = Place::of(options, workers).expect("a cluster or none");
    let (started, events) = threads.block_on(async {
        let links = match &place {
            Some(place) => place.connect().await.expect("all are there"),
            None => Links::alone(),
        };
        let started = Instant::now();
        let counting = metrics.clone();
        if options.follows() {
            let ended = skytide_dataflow::follow(links, workers, counting, never).await;
            assert!(matches!(ended, Err(DataflowError::LeaderEnded { .. })));
        } else {
            let ports = Ports {
                log: Arc::new(log(folder)),
                store: Arc::new(Rowless::default()),
                checkpoints: None,
            };
            let options = Options {
                workers,
                until_last: true,
                ..Options::default()
            };
            let ended = skytide_dataflow::lead(options, ports, links, counting, never).await;
            ended.expect("it counts");
        }
        (started, metrics.events.get())
    });
    let id = std::process::id();
    println!(
        "{} {events} {} {} {} {}",
        started.elapsed().as_secs_f64(),
        of_process(id).seconds(),
        rss_bytes(id),
        metrics.cluster_sent.get(),
        metrics.cluster_received.get()
    );
}

fn log(folder: &Path) -> EmbeddedLog {
    let options = LogOptions {
        sync: false,
        ..LogOptions::default()
    };
    EmbeddedLog::open(folder, options).expect("the log opens")
}

/// Measures and prints.
pub fn run() {
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok();
        given.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let events = number("SKYTIDE_BENCH_CLUSTER_EVENTS", 2_000_000);
    let rounds = number("SKYTIDE_BENCH_CLUSTER_ROUNDS", 3);
    let folder = tempfile::tempdir().expect("a scratch folder");
    println!("\ncluster: {events} events, the middle one of {rounds} rounds");
    tell_log(folder.path(), events);
    let mut alone = Vec::new();
    let mut together = Vec::new();
    for _ in 0..rounds {
        alone.push(vec![finish(start(0, 2, "", folder.path()))]);
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
        let second = start(1, 1, &hosts, folder.path());
        let first = start(0, 1, &hosts, folder.path());
        together.push(vec![finish(first), finish(second)]);
    }
    tell("one process, two workers", alone);
    tell("two processes, one worker each", together);
}

/// Writes the log, and measures reading it and writing it again as orders are, on one thread.
fn tell_log(folder: &Path, events: u64) {
    let threads = Runtime::new().expect("the runtime starts");
    threads.block_on(async {
        let made = Synthetic {
            epochs: events / EVENTS,
            events: EVENTS,
        };
        let log = log(folder);
        let mut writer = log.writer().await.expect("nobody else writes");
        let mut reader = made.reader(Seq(1)).await.expect("it is made up");
        let mut last = false;
        while !last {
            let messages = reader.next(4_096).await.expect("it is made up");
            let messages: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
            let is_last = |it: &Message| matches!(it, Message::Tick(tick) if tick.last);
            last = messages.iter().any(is_last);
            writer.append(messages).await.expect("the disk has room");
        }
        writer.flush().await.expect("the disk has room");

        let started = Instant::now();
        let mut reader = log.reader(Seq(1)).await.expect("it can be read");
        let (mut read, mut bytes, mut passed_on) = (0, 0, 0.0);
        let mut last = false;
        while !last {
            let messages = reader.next(4_096).await.expect("it can be read");
            let begun = Instant::now();
            let mut order = Vec::new();
            for (_, message) in &messages {
                match message {
                    Message::Event(_) => message.encode(&mut order),
                    Message::Tick(tick) => last = tick.last,
                }
            }
            read += messages.len();
            bytes += order.len();
            passed_on += begun.elapsed().as_secs_f64();
        }
        let seconds = started.elapsed().as_secs_f64();
        let rate = |seconds: f64| read as f64 / seconds;
        println!(
            "{:<44}{:>14.0} events/s",
            "reading the log",
            rate(seconds - passed_on)
        );
        println!(
            "{:<44}{:>14.0} events/s",
            "writing all of it as orders",
            rate(passed_on)
        );
        println!(
            "{:<44}{:>14.0} events/s",
            "both, one after the other",
            rate(seconds)
        );
        println!(
            "{:<44}{:>14.0}",
            "bytes of an event",
            bytes as f64 / read as f64
        );
    });
}

fn start(process: usize, workers: usize, hosts: &str, folder: &Path) -> Child {
    let folder = folder.display();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(CHILD, format!("{process} {workers} {hosts} {folder}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().expect("this program runs")
}

fn finish(child: Child) -> Used {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers = text
        .split_whitespace()
        .map(|it| it.parse().expect("a number"));
    let numbers: Vec<f64> = numbers.collect();
    let [seconds, events, cpu, memory, sent, received] = numbers[..] else {
        panic!("six numbers: {text}");
    };
    Used {
        seconds,
        events,
        cpu,
        memory,
        sent,
        received,
    }
}

/// Tells of the middle one of some rounds, of which each has what every process used.
fn tell(what: &str, mut rounds: Vec<Vec<Used>>) {
    rounds.sort_by(|a, b| a[0].seconds.total_cmp(&b[0].seconds));
    let all: Vec<_> = rounds
        .iter()
        .map(|round| format!("{:.1}", round[0].seconds))
        .collect();
    let round = &rounds[rounds.len() / 2];
    let first = round[0];
    println!("{what}");
    println!(
        "{:<44}{:>14.0} events/s   (seconds of all rounds: {})",
        "  counted",
        first.events / first.seconds,
        all.join(", ")
    );
    for (process, used) in round.iter().enumerate() {
        println!(
            "{:<44}{:>14.2} us CPU an event, {:.0} MB",
            format!("  process {process}"),
            used.cpu / first.events * 1e6,
            used.memory / 1e6
        );
    }
    if round.len() > 1 {
        println!(
            "{:<44}{:>14.0} bytes an event, received {:.0}",
            "  process 0 sent",
            first.sent / first.events,
            first.received / first.events
        );
    }
}
