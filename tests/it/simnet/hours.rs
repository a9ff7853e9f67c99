//! Hours of the network in seconds, from its relay to the views, with every possible fault in one
//! run.
//!
//! ```text
//! network ─▶ relay ─▶ ingest ─▶ log ─┬─▶ dataflow, 1 worker  ─▶ views ─┐
//!    │        └ faults                └─▶ dataflow, 2 workers ─▶ views ─┤ equal at each commit
//!    │                                 └──────── recount ──────────────┘
//!    └─ events, counters, ledger: equal to those of log and views
//! ```
//!
//! All parts run at the same time. Every kind of bad input occurs at random; every fault of
//! connections is planned ([`plan`]). `SKYTIDE_TEST_HOURS` (2) sets the number of hours,
//! `SKYTIDE_TEST_SEED` the network.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skytide_audit::recount::Model;
use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryLog;
use skytide_dataflow::{Metrics, Ports};
use skytide_ingest::frame::Verify;
use skytide_ingest::{Options as IngestOptions, RelayOptions, RelaySource};
use skytide_simnet::faults::{Fault, FaultPlan, Faults};
use skytide_simnet::malformed::{Kind, Rates};
use skytide_simnet::server::{Options as ServerOptions, Pace, Server};
use skytide_simnet::{Frame, Ledger, Network, Options};
use skytide_tests::checkers::{Commit, Recorder, counters_of, unlike_ledger};
use skytide_tests::reading::messages_of;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::decoded::is_coverage;
use super::{trouble, truth::model};
use crate::ingest::harness::{self, Running, Stored};
use crate::recount::harness::Case;

/// Approximate number of frames per hour.
const HOUR_FRAMES: u32 = 3_600;
/// Approximate number of epochs in the log.
const EPOCHS: usize = 40;
/// The read timeout. Only time distinguishes a stall or a quiet host from a working connection.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Some hours of a network, generated in advance.
struct Hours {
    network: Options,
    frames: Vec<Frame>,
    plan: FaultPlan,
}

impl Hours {
    fn new(seed: u64, hours: u32) -> Self {
        let mut network = Options {
            seed,
            accounts: 300,
            rate: f64::from(HOUR_FRAMES) / 3_600.0,
            // More of those that end a connection would leave no stretch in which none ends.
            malformed: Rates::all(1_500).with(Kind::ErrorFrame, 600),
            ..Options::default()
        };
        let end = network.start.0 + u64::from(hours) * 3_600_000;
        let mut generated = Network::new(network.clone());
        let mut frames: Vec<_> = std::iter::from_fn(|| generated.next_frame())
            .take_while(|frame| frame.time.0 <= end + 60_000)
            .collect();
        // The test waits for the last `seq`, so trailing frames without one are removed.
        while frames.pop_if(|frame| frame.events.is_empty()).is_some() {}
        let last = frames.last().expect("frames");
        assert!(last.time.0 >= end, "it is not {hours} hours long");
        network.events_max = Some(frames.len() as u64);
        let plan = plan::plan(&frames, hours as usize);
        Self {
            network,
            frames,
            plan,
        }
    }

    async fn serve(&self) -> Server {
        let options = ServerOptions {
            pace: Pace::Max,
            window: plan::WINDOW,
            faults: Faults::new(self.plan.clone()),
            ..ServerOptions::default()
        };
        let network = Network::new(self.network.clone());
        let server = Server::start(options, network, harness::clock());
        server.await.expect("started")
    }

    fn ingest(&self, server: &Server, log: &MemoryLog) -> Running {
        let relay = RelayOptions {
            read_timeout: SILENCE_MAX,
            ..harness::relay_options_at(server.relay_url())
        };
        let source = RelaySource::new(relay, harness::clock()).expect("an address");
        let options = IngestOptions {
            verify: Verify::Blocks,
            // The time of the first frames is their common median.
            tick_interval: Duration::from_secs(1),
            tick_events_max: (self.frames.len() / EPOCHS).max(50),
            ..harness::options()
        };
        let source = source.named(&self.network.host);
        Running::start(Box::new(source), options, Arc::new(log.clone()))
    }
}

/// A running dataflow.
struct Counting {
    case: Case,
    store: Arc<Recorder>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), skytide_dataflow::DataflowError>>,
}

impl Counting {
    fn start(seed: u64, workers: usize, log: &MemoryLog) -> Self {
        let case = Case {
            seed,
            options: model(),
            processes: 1,
            workers,
            epochs_max: 1,
        };
        let (store, stop) = (Arc::<Recorder>::default(), CancellationToken::new());
        let ports = Ports {
            log: Arc::new(log.clone()),
            store: store.clone(),
            checkpoints: None,
        };
        let metrics = Arc::new(Metrics::default());
        let running = skytide_dataflow::run(case.dataflow(), ports, metrics, stop.clone());
        Self {
            case,
            store,
            stop,
            task: tokio::spawn(running),
        }
    }

    /// Waits for the commit of this epoch; returns what readers saw after each commit up to it.
    async fn until(self, end: Epoch) -> (Case, Vec<Commit>) {
        let committed = self.store.until(end);
        if self.store.newest().is_none_or(|newest| newest < end) {
            committed.cancelled().await;
        }
        self.stop.cancel();
        let ended = self.task.await.expect("no panic");
        ended.expect("a clean stop");
        (self.case, self.store.take())
    }
}

/// Compares each commit with the recount of the log up to its epoch; returns the number of commits.
fn compare(log: &[Message], runs: Vec<(Case, Vec<Commit>)>) -> usize {
    let mut commits: BTreeMap<Epoch, Vec<(Case, Commit)>> = BTreeMap::new();
    for (case, run) in runs {
        for commit in run {
            let epoch = commit.committed.epoch;
            commits.entry(epoch).or_default().push((case, commit));
        }
    }
    let mut recount = Model::new(model());
    let mut compared = 0;
    for message in log {
        let Some(commits) = recount
            .read(message)
            .and_then(|epoch| commits.remove(&epoch))
        else {
            continue;
        };
        let (epoch, rows) = (commits[0].1.committed.epoch, recount.rows());
        let expected = [(epoch, rows)];
        for (case, commit) in commits {
            case.compare(&expected, &[commit]);
            compared += 1;
        }
    }
    assert!(
        commits.is_empty(),
        "commits of epochs that are not in the log"
    );
    compared
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_with_every_fault_at_once_are_counted_exactly() {
    let seed = number("SKYTIDE_TEST_SEED", 41);
    let count = number("SKYTIDE_TEST_HOURS", 2);
    eprintln!("SKYTIDE_TEST_SEED={seed} SKYTIDE_TEST_HOURS={count}");
    let hours = Hours::new(seed, u32::try_from(count).expect("some hours"));
    let planned = trouble::planned(&hours.plan);
    let missing = Fault::ALL.iter().find(|it| !planned.contains_key(it));
    assert_eq!(
        missing, None,
        "seed {seed} has no place for some fault, take another seed"
    );

    let log = MemoryLog::new(1);
    let server = hours.serve().await;
    let counting = [1, 2].map(|workers| Counting::start(seed, workers, &log));
    let ingest = hours.ingest(&server, &log);
    let state = server.until(|state| state.ended).await;
    let renumbered = planned[&Fault::SeqReset];
    let whole = |stored: &Stored| {
        stored.count("resets") == renumbered && stored.cursor() >= state.newest_seq
    };
    let stored = ingest.until(whole).await;
    let end = ingest.stop().await.tick.expect("a tick").epoch;

    assert_eq!(server.faults().fired(), planned, "seed {seed}");
    let came: Vec<_> = state.bad.keys().copied().collect();
    let mut kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(came, kinds, "seed {seed}: some kinds did not occur");
    let expected = trouble::events(&hours.frames, &hours.plan);
    for (ours, theirs) in stored.events.iter().zip(&expected) {
        assert_eq!(ours, theirs, "seed {seed}");
    }
    assert_eq!(stored.events.len(), expected.len(), "seed {seed}");

    let mut runs = Vec::new();
    for counting in counting {
        runs.push(counting.until(end).await);
    }
    let mut counters = trouble::counters(&hours.frames, &hours.plan);
    // On a busy machine a connection may time out by chance. Each connection except the last one is
    // lost once.
    let refused = planned.iter().filter(|(fault, _)| fault.is_refusal());
    let refused: u64 = refused.map(|(_, times)| times).sum();
    let lost = server.state().connections - refused - 1;
    let at_least = counters.insert("disconnects".to_owned(), lost);
    assert!(at_least <= Some(lost), "seed {seed}: {lost} were lost");
    let mut ledger = Ledger::default();
    hours.frames.iter().for_each(|frame| ledger.add(frame));
    for (case, commits) in &runs {
        let rows = &commits.last().expect("a commit").rows;
        assert_eq!(unlike_ledger(rows, &ledger.totals()), None, "{case:?}");
        let mut found = counters_of(rows);
        found.remove("frame_bytes");
        found.retain(|name, _| !is_coverage(name));
        assert_eq!(found, counters, "{case:?}");
    }
    let compared = compare(&messages_of(&log).await.expect("messages"), runs);
    assert!(compared > EPOCHS, "only {compared} commits");
    let (frames, faults) = (hours.frames.len(), hours.plan.planned.len());
    let bad: u64 = state.bad.values().sum();
    eprintln!(
        "{frames} frames, {} events, {bad} bad frames, {faults} faults, {} connections, {compared} commits compared",
        expected.len(),
        state.connections,
    );
}
