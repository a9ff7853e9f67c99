//! Consecutive lives of the dataflow on the same ports: each starts from what the previous one
//! left.

use std::ops::AddAssign;
use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::memory::{MemoryCheckpoints, MemoryScratch};
use skytide_core::port::checkpoint::{CheckpointStore, Manifest};
use skytide_core::port::log::Log as _;
use skytide_core::port::scratch::SpillFiles;
use skytide_dataflow::{CheckpointOptions, DataflowError, Metrics, Options, Scratch};
use skytide_tests::checkers::Recorder;
use skytide_tests::meter::random_memory;
use skytide_tests::model::Rows;
use skytide_tests::world::Random;

use crate::recount::harness::{Case, Ground, Team};
use crate::recount::logs::between;

/// Ports with checkpoints, and the parameters of the lives that use them.
pub struct Lives {
    pub case: Case,
    pub epochs: usize,
    pub ground: Ground,
    pub checkpoints: MemoryCheckpoints,
    /// Number of shards per cut; `None`: random for each life.
    pub shards_per_cut: Option<u16>,
    /// Maximum number of processes of a life.
    pub processes_max: u64,
}

/// Statistics that prove that a test covered its cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Number of lives that started from a checkpoint.
    pub restored: usize,
    /// Number of checkpoints whose shards were cut at several epochs.
    pub spread: usize,
    /// Number of checkpoints that shared runs with an earlier one.
    pub shared: usize,
    /// Number of lives that were killed.
    pub killed: usize,
    /// Number of lives that found the log trimmed.
    pub trimmed: usize,
    /// Number of lives that started from a checkpoint of another number of processes.
    pub moved: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.restored += other.restored;
        self.spread += other.spread;
        self.shared += other.shared;
        self.killed += other.killed;
        self.trimmed += other.trimmed;
        self.moved += other.moved;
    }
}

impl Tally {
    #[track_caller]
    pub fn assert_not_vacuous(self, seeds: usize) {
        let all = self
            .restored
            .min(self.spread)
            .min(self.shared)
            .min(self.killed)
            .min(self.trimmed);
        assert!(all > 0 || seeds < 3, "some case never occurred: {self:?}");
    }
}

impl Lives {
    pub fn new(case: Case, epochs: usize) -> Self {
        let checkpoints = MemoryCheckpoints::new();
        let store = match case.seed % 2 {
            0 => Recorder::default(),
            _ => Recorder::torn(),
        };
        let ground = Ground {
            store: Arc::new(store),
            checkpoints: Some(Arc::new(checkpoints.clone())),
            ..Ground::new()
        };
        Self {
            case,
            epochs,
            ground,
            checkpoints,
            shards_per_cut: None,
            processes_max: 1,
        }
    }

    /// Runs lives of random length and options, until the log is at its end.
    pub async fn run(&self, messages: &[Message], expected: &[(Epoch, Rows)]) -> Tally {
        let mut random = Random::new(self.case.seed);
        let mut tally = Tally::default();
        let (mut begin, mut processes) = (0, 1);
        let most = self.epochs - 1;
        while begin < most {
            let step = 1 + random.below(self.epochs as u64 / 4) as usize;
            let end = most.min(begin + step);
            self.ground.append(between(messages, begin, end)).await;
            begin = end;
            let first = self
                .ground
                .log
                .bounds()
                .await
                .expect("memory answers")
                .first;
            tally.trimmed += usize::from(first.0 > 1);
            let case = self.drawn(&mut random);
            let options = self.options(case, &mut random);
            let restores = self.restores().await;
            tally.restored += usize::from(restores);
            let before = std::mem::replace(&mut processes, case.processes);
            tally.moved += usize::from(restores && before != processes);
            if random.chance(30) {
                let killed = self.killed(case, options, &mut random).await;
                tally.killed += usize::from(killed);
            } else {
                let lived = case.run_on(&self.ground, options).await;
                lived.unwrap_or_else(|error| panic!("{case:?}, to {end}: {error}"));
                let commits = self.ground.store.take();
                if !commits.is_empty() {
                    case.compare(&expected[..end], &commits);
                }
            }
            let shares = |it: &Manifest| it.sections.iter().any(|it| it.origin.is_some());
            let manifests = self.manifests().await;
            tally.shared += manifests.iter().filter(|it| shares(it)).count();
            let several = |it: &Manifest| it.through.first() != it.through.last();
            tally.spread += manifests.iter().filter(|it| several(it)).count();
        }
        let case = self.case.with(2, 1);
        self.ground
            .append(between(messages, most, self.epochs))
            .await;
        let end = case
            .run_on(&self.ground, self.options(case, &mut random))
            .await;
        end.unwrap_or_else(|error| panic!("{case:?}, at the end: {error}"));
        let last = self.ground.store.rows_of_all();
        if let Some(text) = skytide_tests::checkers::difference(&expected[self.epochs - 1].1, &last)
        {
            panic!("{case:?}, at the end: {text}");
        }
        tally
    }

    /// Runs a life that makes a checkpoint at the end of an epoch and trims the log up to there.
    pub async fn checkpoint_at(
        &self,
        messages: &[Message],
        (begin, end): (usize, usize),
        case: Case,
    ) {
        self.ground.append(between(messages, begin, end)).await;
        let mut options = case.dataflow();
        options.batch_epochs_max = end;
        options.checkpoint = CheckpointOptions {
            interval: None,
            events: Some(0),
            shards_per_cut: Some(64),
            ..CheckpointOptions::default()
        };
        let lived = case.run_on(&self.ground, options).await;
        lived.unwrap_or_else(|error| panic!("{case:?}, to {end}: {error}"));
    }

    pub async fn manifests(&self) -> Vec<Manifest> {
        let listed = self.checkpoints.list().await.expect("memory answers");
        let manifests = listed
            .into_iter()
            .map(|it| it.manifest.expect("a readable manifest"));
        manifests.collect()
    }

    async fn restores(&self) -> bool {
        !self.manifests().await.is_empty()
    }

    fn drawn(&self, random: &mut Random) -> Case {
        let workers = [1, 2, 3, 4][random.below(4) as usize];
        let epochs_max = [1, 1, 3, 8, 60][random.below(5) as usize];
        let case = self.case.with(workers, epochs_max);
        match self.processes_max {
            1 => case,
            most => case.over(1 + random.below(most) as usize),
        }
    }

    fn options(&self, case: Case, random: &mut Random) -> Options {
        let drawn = [4, 7, 16, 33, 64][random.below(5) as usize];
        let limit = random.below(4) as usize;
        let hot_pairs_max = [Some(0), Some(64), Some(0), None][limit];
        let files: Arc<dyn SpillFiles> = Arc::new(MemoryScratch::default());
        Options {
            hot_records_max: [None, Some(0), Some(64), Some(usize::MAX)][limit],
            scratch: hot_pairs_max.map(|max| Scratch {
                files,
                hot_pairs_max: Some(max),
            }),
            memory: random
                .chance(50)
                .then(|| random_memory(random.below(u64::MAX))),
            verify: random.chance(50),
            checkpoint: CheckpointOptions {
                interval: None,
                events: Some(random.below(40)),
                shards_per_cut: self.shards_per_cut.or(Some(drawn)),
                ..CheckpointOptions::default()
            },
            ..case.dataflow()
        }
    }

    /// Kills a life at any point: when a random commit of it is made, all of its tasks are dropped.
    async fn killed(&self, case: Case, options: Options, random: &mut Random) -> bool {
        let newest = self.ground.log.newest_tick().await.expect("memory answers");
        let newest = newest.expect("a tick").1.epoch;
        let at = Epoch(newest.0.saturating_sub(random.below(12)));
        let stop = self.ground.store.until(at);
        let (ports, metrics) = (self.ground.ports(), Arc::new(Metrics::default()));
        let never = tokio_util::sync::CancellationToken::new();
        let team = Team::start(case.processes, case.workers);
        let life = skytide_dataflow::lead(options, ports, team.links, metrics, never);
        let life = tokio::spawn(life);
        let caught_up = async {
            // There may be nothing left to commit: then the life ends when everything is committed.
            while !life.is_finished() && !stop.is_cancelled() {
                if self.ground.store.newest() >= Some(newest) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        caught_up.await;
        life.abort();
        let ended = life.await;
        for other in team.others {
            let ended = other.await.expect("no panic");
            use DataflowError::{LeaderEnded, Lost};
            assert!(
                matches!(ended, Err(Lost { .. } | LeaderEnded { .. })),
                "{case:?}: {ended:?}"
            );
        }
        self.ground.store.take();
        if let Ok(Err(error)) = ended {
            panic!("{:?}: {error}", self.case);
        }
        true
    }
}
