//! Restores a checkpoint by feeding it to the workers as inputs.
//!
//! ```text
//! times     first - n + 1 ... first - 1        first │ first + 1 ... last │ ...
//!     accumulators, shards │ ... │ shards            │ the log; accounts  │ the log
//!                                                    │ from their cut on  │
//! ```
//!
//! The accounts are fed in `n` chunks of shards, each chunk at a time of its own. The first chunk
//! also has the accumulators, and the collections that `activity` counts by name. The live records
//! emit all facts of an account again, so every operator rebuilds its state. The clock shows the
//! network time of the first cut. Between the first cut and the last one views are not exact, and
//! nothing is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::limits::OTHER_COLLECTIONS;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Section};
use skytide_core::view::{ActivityKey, CoverageKey, CoverageRow, RowError, ViewId, decode_row};
use tokio::sync::mpsc;

use crate::DataflowError;
use crate::fact::{Activity, CoverageFact, Fact};
use crate::graph::Accumulators;
use crate::metrics::Metrics;
use crate::operators::lists::{FORMER, Newest, WorkerList};
use crate::records::{Names, SHARDS, saved};
use crate::runtime::batch::{End, Segment};
use crate::runtime::command::{BatchInput, Command};
use crate::runtime::section_name::{run_shard, shard_of};
use crate::saved_shard::SavedShard;
use crate::types::{Clock, Input, Time};

/// A checkpoint to restore.
pub(crate) struct Restore {
    pub checkpoints: Arc<dyn CheckpointStore>,
    pub manifest: Manifest,
    /// Views whose lists in the checkpoint are not used.
    pub without_lists: BTreeSet<ViewId>,
    pub metrics: Arc<Metrics>,
}

/// Checks that this version can read a section that is not a run. Its checksum has been checked
/// before.
///
/// # Errors
/// Why it cannot: a newer version wrote the section.
pub(crate) fn check_format(section: &Section, bytes: &[u8]) -> Result<(), String> {
    let name = &section.name;
    match shard_of(name) {
        Some(_) => saved::check_format(bytes).map_err(|why| format!("section {name:?} {why}")),
        None => SavedAccumulators::decode(bytes)
            .map(drop)
            .map_err(|_| format!("section {name:?} has a format that this version does not know")),
    }
}

impl Accumulators {
    /// Encodes the accumulators for a checkpoint, with `names`: the collections that `activity`
    /// counts under their own names.
    pub(crate) fn save(&self, names: &[Box<str>]) -> Vec<u8> {
        let Self {
            activity,
            counters,
            coverage,
            lists,
        } = self;
        let (activity, counters) = (activity.borrow(), counters.borrow());
        // A map with composite keys is saved as a list of pairs.
        let coverage = coverage.borrow();
        let coverage: Vec<_> = coverage.iter().collect();
        let all = (&*activity, &*counters, &*lists.borrow(), names, coverage);
        skytide_core::view::encode_row(&all).into()
    }
}

/// The accumulators of a worker, as saved in a checkpoint.
pub(super) struct SavedAccumulators {
    pub activity: BTreeMap<ActivityKey, Activity>,
    pub counters: BTreeMap<String, u64>,
    lists: Newest,
    /// The collections that `activity` counts under their own names.
    pub names: Vec<Box<str>>,
    /// What is known to be missing. Empty in checkpoints of older versions: then it is known from
    /// the next tick on.
    coverage: Vec<(CoverageKey, CoverageRow)>,
}

impl SavedAccumulators {
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        if let Ok((activity, counters, lists, names, coverage)) = decode_row(bytes) {
            return Ok(Self {
                activity,
                counters,
                lists,
                names,
                coverage,
            });
        }
        // An older version did not save what is missing.
        if let Ok((activity, counters, lists, names)) = decode_row(bytes) {
            return Ok(Self {
                activity,
                counters,
                lists,
                names,
                coverage: Vec::new(),
            });
        }
        // An older version named every collection and did not save the names separately.
        let (activity, counters, lists) = decode_row(bytes)?;
        let activity: BTreeMap<ActivityKey, Activity> = activity;
        let all = activity.keys().map(|key| &key.collection);
        let collections = all.filter(|name| !name.is_empty() && !name.starts_with('#'));
        Ok(Self {
            names: collections
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            activity,
            counters,
            lists,
            coverage: Vec::new(),
        })
    }
}

impl Restore {
    /// Feeds the whole checkpoint. Returns the collections that `activity` counts under their own
    /// names, or `None` if a worker has ended.
    ///
    /// # Errors
    /// A section cannot be read.
    pub async fn feed(
        self,
        workers: &[mpsc::Sender<Command>],
    ) -> Result<Option<Names>, DataflowError> {
        let mut accumulators = self.read_accumulators().await?;
        let names = accumulators
            .iter_mut()
            .flat_map(|saved| std::mem::take(&mut saved.names));
        let names = Names::of(names);
        let first = self.manifest.first.epoch.0 as Time;
        let shards = u32::from(SHARDS);
        // A chunk has one shard for each worker. Each chunk needs a time of its own, and there are
        // only `first` times up to the first cut.
        let chunks = shards.div_ceil(workers.len() as u32).min(first).max(1);
        for chunk in 0..chunks {
            let (from, to) = (shards * chunk / chunks, shards * (chunk + 1) / chunks);
            let time = first + 1 + chunk - chunks;
            let mut segments = self.empty_segments(workers.len(), time);
            if chunk == 0 {
                for segment in &mut segments {
                    segment.inputs.push(Input::Names(names.to_vec()));
                }
                let accumulators = std::mem::take(&mut accumulators);
                self.feed_accumulators(accumulators, &names, &mut segments[0]);
            }
            self.feed_shards(from as u16..to as u16, &mut segments)
                .await?;
            for (worker, segment) in workers.iter().zip(segments) {
                let input = BatchInput {
                    segments: vec![segment],
                    end: self.end(time),
                    cut: None,
                };
                if worker.send(Command::Feed(input)).await.is_err() {
                    return Ok(None);
                }
            }
            self.metrics.restoring.set(i64::from(shards - to));
        }
        Ok(Some(names))
    }

    fn end(&self, time: Time) -> End {
        let first = self.manifest.first;
        End {
            epoch: Epoch(u64::from(time)),
            time: first.time,
            since: self.manifest.last.since,
            log_seq: first.seq,
            hash: first.hash,
            restored: true,
            events: 0,
            bytes: 0,
            epochs: 1,
        }
    }

    fn empty_segments(&self, workers: usize, time: Time) -> Vec<Segment> {
        let clock = Clock {
            now: self.manifest.first.time,
            lists: false,
        };
        let segment = |_| Segment {
            time,
            clock,
            inputs: Vec::new(),
            lists: Vec::new(),
        };
        (0..workers).map(segment).collect()
    }

    async fn read(&self, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        self.checkpoints
            .read(self.manifest.first.epoch, section)
            .await
    }

    /// Feeds each shard to the worker that has its accounts. If the number of workers does not
    /// divide the number of shards, a shard can have accounts of several workers, and is fed to all
    /// workers.
    async fn feed_shards(
        &self,
        shards: std::ops::Range<u16>,
        segments: &mut [Segment],
    ) -> Result<(), DataflowError> {
        let workers = segments.len();
        let divides = usize::from(SHARDS).is_multiple_of(workers);
        for (shard, saved) in self.read_shards(shards).await? {
            for (worker, segment) in segments.iter_mut().enumerate() {
                if !divides || usize::from(shard) % workers == worker {
                    segment.inputs.push(Input::Shard {
                        saved: saved.clone(),
                        whole: divides,
                    });
                }
            }
        }
        Ok(())
    }

    /// Reads the sections and runs of these shards.
    async fn read_shards(
        &self,
        shards: std::ops::Range<u16>,
    ) -> Result<BTreeMap<u16, SavedShard>, CheckpointError> {
        let mut read = BTreeMap::<u16, SavedShard>::new();
        for section in &self.manifest.sections {
            let Some(shard) = shard_of(&section.name).filter(|it| shards.contains(it)) else {
                continue;
            };
            let bytes = Arc::new(self.read(section).await?);
            let saved = read.entry(shard).or_default();
            match run_shard(&section.name) {
                Some(_) => saved.runs.push((section.name.clone(), bytes)),
                None => saved.sections.push(bytes),
            }
        }
        Ok(read)
    }

    async fn read_accumulators(&self) -> Result<Vec<SavedAccumulators>, DataflowError> {
        let mut accumulators = Vec::new();
        let sections = self.manifest.sections.iter();
        for section in sections.filter(|it| shard_of(&it.name).is_none()) {
            let bytes = self.read(section).await?;
            let saved =
                SavedAccumulators::decode(&bytes).map_err(|_| CheckpointError::Damaged {
                    checkpoint: self.manifest.first.epoch,
                    what: format!("section {:?} is not readable", section.name),
                })?;
            accumulators.push(saved);
        }
        Ok(accumulators)
    }

    /// Feeds the accumulators to one worker. A checkpoint of an older version may count collections
    /// separately that are now counted together, as other collections.
    fn feed_accumulators(
        &self,
        accumulators: Vec<SavedAccumulators>,
        names: &Names,
        segment: &mut Segment,
    ) {
        let count_as = |key: ActivityKey| match &*key.collection {
            "" | OTHER_COLLECTIONS => key,
            name if name.starts_with('#') || names.has(name) => key,
            _ => ActivityKey {
                collection: OTHER_COLLECTIONS.into(),
                ..key
            },
        };
        for (index, saved) in accumulators.into_iter().enumerate() {
            // The number of live records is counted from the restored records.
            let activity = saved.activity.into_iter().map(|(key, all)| {
                let counted = Activity { live: 0, ..all };
                Fact::Activity(count_as(key), counted)
            });
            let counters = saved.counters.into_iter();
            let counters = counters.map(|(name, count)| Fact::Counter(name.into(), count));
            let coverage = Fact::Coverage(CoverageFact::Restored(saved.coverage));
            let facts = activity.chain(counters).chain([coverage]).collect();
            segment.inputs.push(Input::Accumulators(facts));
            let lists = self.lists(saved.lists, FORMER + index);
            segment.lists.extend(lists);
        }
    }

    fn lists(&self, lists: Newest, worker: usize) -> impl Iterator<Item = WorkerList> {
        let usable = lists.into_iter();
        let usable = usable.filter(|((view, _), _)| !self.without_lists.contains(view));
        usable.map(move |((view, key), workers)| WorkerList {
            view,
            key,
            worker,
            entries: workers.into_values().flatten().collect(),
        })
    }
}
