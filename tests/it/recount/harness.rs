//! Runs the dataflow over a log and compares each commit with the recount.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryLog;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::time::Timestamp;
use skytide_core::view::{InteractionKey, Key, ViewId};
use skytide_dataflow::{AccountPolicy, DataflowError, Links, Metrics, Name, Peer, Ports};
use skytide_tests::checkers::{Commit, Recorder, difference, wrong_sum};
use skytide_tests::model::{Options, Policy, Rows};
use skytide_tests::world;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The parameters of a run; every failure names them.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The seed of the world.
    pub seed: u64,
    /// The policy and the retention.
    pub options: Options,
    /// Number of processes of the dataflow.
    pub processes: usize,
    /// Number of threads of each process.
    pub workers: usize,
    /// Maximum number of epochs in one commit.
    pub epochs_max: usize,
}

impl Case {
    /// The case of a seed: policies and retentions in turn, one worker, one commit per epoch.
    pub fn of(seed: u64) -> Self {
        let options = Options {
            policy: Policy::ALL[(seed % 3) as usize],
            interactions_days: [Some(8), Some(1), None, Some(2)][(seed % 4) as usize],
        };
        Self {
            seed,
            options,
            processes: 1,
            workers: 1,
            epochs_max: 1,
        }
    }

    /// The log of the world of this seed.
    pub fn world(self) -> Vec<Message> {
        world::log(self.seed, world::Options::default())
    }

    /// The same case with another number of workers and of epochs in a commit.
    pub fn with(self, workers: usize, epochs_max: usize) -> Self {
        Self {
            workers,
            epochs_max,
            ..self
        }
    }

    /// The same case with another number of processes.
    pub fn over(self, processes: usize) -> Self {
        Self { processes, ..self }
    }

    /// Runs the dataflow over a whole log; returns what readers saw after each commit.
    pub async fn run(self, messages: &[Message]) -> Vec<Commit> {
        let ground = Ground::new();
        ground.append(messages).await;
        let ended = self.run_on(&ground, self.dataflow()).await;
        if let Err(error) = ended {
            panic!("{self:?}: {error}");
        }
        ground.store.take()
    }

    /// Runs the dataflow until everything in the log is committed.
    pub async fn run_on(
        self,
        ground: &Ground,
        options: skytide_dataflow::Options,
    ) -> Result<Arc<Metrics>, DataflowError> {
        let newest = ground.log.newest_tick().await?;
        let stop = ground.store.until(newest.expect("a tick").1.epoch);
        let workers = self.processes * options.workers;
        let metrics = Metrics::register(&mut Registry::default(), workers);
        let team = Team::start(self.processes, options.workers);
        let links = team.links;
        skytide_dataflow::lead(options, ground.ports(), links, metrics.clone(), stop).await?;
        for ended in team.others {
            let ended = ended.await.expect("no panic");
            assert!(
                matches!(ended, Err(DataflowError::LeaderEnded { .. })),
                "{ended:?}"
            );
        }
        Ok(metrics)
    }

    /// The options of the dataflow in this case.
    pub fn dataflow(self) -> skytide_dataflow::Options {
        skytide_dataflow::Options {
            workers: self.workers,
            account_policy: match self.options.policy {
                Policy::ActiveAccountsOnly => AccountPolicy::ActiveAccountsOnly,
                Policy::DeletedAccountsRemoved => AccountPolicy::DeletedAccountsRemoved,
                Policy::OpsOnly => AccountPolicy::OpsOnly,
            },
            interactions_days: self.options.interactions_days,
            batch_epochs_max: self.epochs_max,
            verify: true,
            ..skytide_dataflow::Options::default()
        }
    }

    /// Every commit must be exact at its epoch and state the sums of its rows; the last one must
    /// end the log. Interactions of an expired day may still exist: another test covers them.
    #[track_caller]
    pub fn compare(self, expected: &[(Epoch, Rows)], commits: &[Commit]) {
        let by_epoch: BTreeMap<Epoch, &Rows> = expected
            .iter()
            .map(|(epoch, rows)| (*epoch, rows))
            .collect();
        for Commit { committed, rows } in commits {
            let epoch = committed.epoch;
            if let Some(text) = wrong_sum(&committed.sums, rows) {
                panic!("{self:?}, epoch {epoch}: {text}");
            }
            let mut rows = rows.clone();
            let first = first_day(committed.time, self.options.interactions_days);
            let interactions = rows.entry(ViewId::Interactions).or_default();
            interactions.retain(|key, _| day(key) >= first);
            if let Some(text) = difference(by_epoch[&epoch], &rows) {
                panic!("{self:?}, epoch {epoch}: {text}");
            }
        }
        let last = commits.last().map(|commit| commit.committed.epoch);
        assert_eq!(
            last,
            by_epoch.keys().last().copied(),
            "{self:?}: the end of the log is not committed"
        );
    }
}

/// Follower processes, and the connections of the leader.
pub struct Team {
    /// The connections of process 0.
    pub links: Links,
    /// The tasks of the other processes, in order.
    pub others: Vec<JoinHandle<Result<(), DataflowError>>>,
}

impl Team {
    /// Starts this many processes, all within this one and connected to each other.
    pub fn start(processes: usize, workers: usize) -> Self {
        let mut all = connected(processes).into_iter();
        let links = all.next().expect("process 0");
        let other = |links| {
            let options = skytide_dataflow::Options {
                workers,
                ..Default::default()
            };
            let (metrics, never) = (Arc::default(), CancellationToken::new());
            tokio::spawn(
                async move { skytide_dataflow::follow(links, &options, metrics, never).await },
            )
        };
        Self {
            links,
            others: all.map(other).collect(),
        }
    }
}

/// Connects each process to all others over the loopback interface.
pub fn connected(processes: usize) -> Vec<Links> {
    let mut peers: Vec<Vec<Peer>> = (0..processes).map(|_| Vec::new()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
    let address = listener.local_addr().expect("its address");
    let name = |process| Name {
        process,
        host: format!("host-{process}"),
    };
    for (one, other) in (0..processes).flat_map(|it| (0..it).map(move |other| (it, other))) {
        let socket = TcpStream::connect(address).expect("a connection");
        let accepted = listener.accept().expect("a connection").0;
        for (at, to, socket) in [(one, other, socket), (other, one, accepted)] {
            socket.set_nodelay(true).expect("an open socket");
            let name = name(to);
            peers[at].push(Peer { name, socket });
        }
    }
    let peers = peers.into_iter().enumerate();
    peers
        .map(|(process, peers)| Links::new(process, peers))
        .collect()
}

/// The ports and data that outlive a run of the dataflow.
pub struct Ground {
    /// The log.
    pub log: MemoryLog,
    /// The rows.
    pub store: Arc<Recorder>,
    /// The checkpoints, if the run uses any.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
}

impl Ground {
    /// Empty ports without checkpoints.
    pub fn new() -> Self {
        Self {
            log: MemoryLog::new(7),
            store: Arc::new(Recorder::default()),
            checkpoints: None,
        }
    }

    /// Appends messages to the log and flushes.
    pub async fn append(&self, messages: &[Message]) {
        let mut writer = self.log.writer().await.expect("there is no other writer");
        let written = writer.append(messages.to_vec()).await;
        written.expect("memory never fails");
        writer.flush().await.expect("memory never fails");
    }

    /// The ports of the dataflow.
    pub fn ports(&self) -> Ports {
        Ports {
            log: Arc::new(self.log.clone()),
            store: self.store.clone(),
            checkpoints: self.checkpoints.clone(),
        }
    }
}

/// The first day whose interactions are retained.
pub fn first_day(now: Timestamp, days: Option<u32>) -> u32 {
    days.map_or(0, |days| (now.day() + 1).saturating_sub(days))
}

/// The day of a row of `interactions`.
pub fn day(key: &Key) -> u32 {
    let key: InteractionKey = key.decode().expect("a key of interactions");
    key.day
}

/// The seeds to run, starting with `first`.
pub fn seeds(first: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SKYTIDE_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (first..first + number("SKYTIDE_TEST_SEEDS").unwrap_or(6)).collect(),
    }
}
