//! Counts the same log by one process with two workers, and by two processes with one worker each,
//! connected over the loopback interface. Also measures how fast the leader can read the log and
//! encode it for other processes. `SKYTIDE_BENCH_CLUSTER_EVENTS` sets the number of events,
//! `SKYTIDE_BENCH_CLUSTER_ROUNDS` the number of rounds.
//!
//! The log is on the disk of this machine. The store has no rows, because it is not measured here.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::registry::Registry;
use skytide::cluster::ClusterMember;
use skytide_core::config;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::Log;
use skytide_dataflow::{DataflowError, Links, Metrics, Options, Ports};
use skytide_embedded::{EmbeddedLog, LogOptions};
use skytide_tests::servers::free_port;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::restart::{Rowless, Synthetic};
use crate::whole::{of_process, rss_bytes};

/// Set for a child process that counts: its number, the workers of each process, the hosts, the
/// folder.
const CHILD: &str = "BENCH_COUNTS";

/// Number of events in an epoch.
const EVENTS: u64 = 2_000;

/// The resources that one process used.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    seconds: f64,
    events: f64,
    cpu: f64,
    memory: f64,
    sent: f64,
    received: f64,
}

/// Runs the count if this process is a child for it; returns whether it is.
pub fn counts() -> bool {
    let Ok(text) = std::env::var(CHILD) else {
        return false;
    };
    let mut words = text.split(' ');
    let mut word = || words.next().expect("process, workers, hosts, folder");
    let (process, workers) = (
        word().parse().expect("a number"),
        word().parse().expect("a number"),
    );
    let hosts = word().split(',').filter(|it| !it.is_empty());
    let options = config::Cluster {
        hosts: hosts.map(|it| it.parse().expect("a host")).collect(),
        process,
        ..config::Cluster::default()
    };
    count(&options, workers, word().as_ref());
    true
}

/// Counts the log as the leader, or joins as a follower, and prints the resources used.
fn count(options: &config::Cluster, workers: usize, folder: &Path) {
    let processes = options.hosts.len().max(1);
    let metrics = Metrics::register(&mut Registry::default(), workers * processes);
    let never = CancellationToken::new();
    let threads = Runtime::new().expect("the runtime starts");
    let dataflow = Options {
        workers,
        until_last: true,
        ..Options::default()
    };
    let place = ClusterMember::from_options(options, &dataflow).expect("a cluster or none");
    let (started, events) = threads.block_on(async {
        let links = match &place {
            Some(place) => place.connect().await.expect("all processes are connected"),
            None => Links::alone(),
        };
        let started = Instant::now();
        let counting = metrics.clone();
        if options.follows() {
            let ended = skytide_dataflow::follow(links, &dataflow, counting, never).await;
            assert!(matches!(ended, Err(DataflowError::LeaderEnded { .. })));
        } else {
            let ports = Ports {
                log: Arc::new(log(folder)),
                store: Arc::new(Rowless::default()),
                checkpoints: None,
            };
            let ended = skytide_dataflow::lead(dataflow, ports, links, counting, never).await;
            ended.expect("the count completes");
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

/// Runs the benchmark and prints its results.
pub fn run() {
    let number = |name: &str, default: u64| {
        let given = std::env::var(name).ok();
        given.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let events = number("SKYTIDE_BENCH_CLUSTER_EVENTS", 2_000_000);
    let rounds = number("SKYTIDE_BENCH_CLUSTER_ROUNDS", 3);
    let folder = tempfile::tempdir().expect("a scratch folder");
    println!("\ncluster: {events} events, the median of {rounds} rounds");
    report_log(folder.path(), events);
    let mut alone = Vec::new();
    let mut together = Vec::new();
    for _ in 0..rounds {
        alone.push(vec![finish(start(0, 2, "", folder.path()))]);
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
        let second = start(1, 1, &hosts, folder.path());
        let first = start(0, 1, &hosts, folder.path());
        together.push(vec![finish(first), finish(second)]);
    }
    report("one process, two workers", alone);
    report("two processes, one worker each", together);
}

/// Writes the log; then measures, on one thread, reading it and encoding it as for other processes.
fn report_log(folder: &Path, events: u64) {
    let threads = Runtime::new().expect("the runtime starts");
    threads.block_on(async {
        let made = Synthetic {
            epochs: events / EVENTS,
            events: EVENTS,
        };
        let log = log(folder);
        let mut writer = log.writer().await.expect("there is no other writer");
        let mut reader = made.reader(Seq(1)).await.expect("a generated log");
        let mut last = false;
        while !last {
            let messages = reader.next(4_096).await.expect("a generated log");
            let messages: Vec<_> = messages.into_iter().map(|(_, message)| message).collect();
            let is_last = |it: &Message| matches!(it, Message::Tick(tick) if tick.last);
            last = messages.iter().any(is_last);
            writer.append(messages).await.expect("the disk has room");
        }
        writer.flush().await.expect("the disk has room");

        let started = Instant::now();
        let mut reader = log.reader(Seq(1)).await.expect("the first message");
        let (mut read, mut bytes, mut encoding) = (0, 0, 0.0);
        let mut last = false;
        while !last {
            let messages = reader.next(4_096).await.expect("a message");
            let begun = Instant::now();
            let mut command = Vec::new();
            for (_, message) in &messages {
                match message {
                    Message::Event(_) => message.encode(&mut command),
                    Message::Tick(tick) => last = tick.last,
                }
            }
            read += messages.len();
            bytes += command.len();
            encoding += begun.elapsed().as_secs_f64();
        }
        let seconds = started.elapsed().as_secs_f64();
        let rate = |seconds: f64| read as f64 / seconds;
        println!(
            "{:<44}{:>14.0} events/s",
            "reading the log",
            rate(seconds - encoding)
        );
        println!(
            "{:<44}{:>14.0} events/s",
            "encoding all of it as commands",
            rate(encoding)
        );
        println!("{:<44}{:>14.0} events/s", "both in sequence", rate(seconds));
        println!(
            "{:<44}{:>14.0}",
            "bytes per event",
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
    let output = child.wait_with_output().expect("the child exits");
    assert!(output.status.success(), "the child failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers = text
        .split_whitespace()
        .map(|it| it.parse().expect("a number"));
    let numbers: Vec<f64> = numbers.collect();
    let [seconds, events, cpu, memory, sent, received] = numbers[..] else {
        panic!("expected six numbers: {text}");
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

/// Reports the median round. Each round has the resources that every process used.
fn report(what: &str, mut rounds: Vec<Vec<Used>>) {
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
            "{:<44}{:>14.2} us CPU per event, {:.0} MB",
            format!("  process {process}"),
            used.cpu / first.events * 1e6,
            used.memory / 1e6
        );
    }
    if round.len() > 1 {
        println!(
            "{:<44}{:>14.0} bytes per event, received {:.0}",
            "  process 0 sent",
            first.sent / first.events,
            first.received / first.events
        );
    }
}
