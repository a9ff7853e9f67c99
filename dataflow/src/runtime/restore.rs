//! A checkpoint is restored: its accounts shard by shard, each chunk at a time of its own, names and sums with the first.
//!
//! ```text
//! times     first - n + 1 ... first - 1        first │ first + 1 ... last │ ...
//!     sums, shards │ shards │ ... │ shards           │ the log; accounts  │ the log
//!                                                    │ from their cut on  │
//! ```
//!
//! All facts of an account are told anew, so every operator builds itself again; the clock stands at the first cut.
//! Between the first cut and the last, views are not exact, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::limits::OTHER_COLLECTIONS;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Section};
use skytide_core::view::{ActivityKey, RowError, ViewId, decode_row};
use tokio::sync::mpsc;

use crate::DataflowError;
use crate::fact::{Activity, Fact};
use crate::graph::Accumulators;
use crate::metrics::Metrics;
use crate::operators::lists::{FORMER, Newest, WorkerList};
use crate::records::{Names, SHARDS, saved};
use crate::runtime::batch::{End, Segment};
use crate::runtime::worker::{Fed, Order};
use crate::types::{Clock, Input, Time};

/// A checkpoint that is to be taken in.
pub(crate) struct Restore {
    pub checkpoints: Arc<dyn CheckpointStore>,
    pub manifest: Manifest,
    /// Views whose lists cannot be taken over.
    pub without_lists: BTreeSet<ViewId>,
    pub metrics: Arc<Metrics>,
}

/// The name of a shard's section that a worker writes.
pub(crate) fn shard_name(shard: u16, worker: usize) -> String {
    format!("shard{shard:02}-w{worker}")
}

/// The name of a worker's sums.
pub(crate) fn sums_name(worker: usize) -> String {
    format!("sums-w{worker}")
}

/// The shard that a section holds; `None`: sums.
fn shard_of(section: &Section) -> Option<u16> {
    let number = section.name.strip_prefix("shard")?.split('-').next()?;
    number.parse().ok()
}

/// Whether this version can read a section whose checksum is right.
///
/// # Errors
/// What it is instead: written by a newer version.
pub(crate) fn check_format(section: &Section, bytes: &[u8]) -> Result<(), String> {
    let name = &section.name;
    match shard_of(section) {
        Some(_) => saved::check_format(bytes).map_err(|why| format!("section {name:?} {why}")),
        None => Saved::decode(bytes).map(drop).map_err(|_| {
            format!("section {name:?} is of a format that this version does not know")
        }),
    }
}

impl Accumulators {
    /// As bytes, for a checkpoint, with the collections that have a name of their own.
    pub(crate) fn save(&self, names: &[Box<str>]) -> Vec<u8> {
        let Self {
            activity,
            counters,
            lists,
        } = self;
        let (activity, counters) = (activity.borrow(), counters.borrow());
        let all = (&*activity, &*counters, &*lists.borrow(), names);
        skytide_core::view::encode_row(&all).into()
    }
}

/// The sums of a worker.
struct Saved {
    activity: BTreeMap<ActivityKey, Activity>,
    counters: BTreeMap<String, u64>,
    lists: Newest,
    /// Collections that have a name of their own.
    names: Vec<Box<str>>,
}

impl Saved {
    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        if let Ok((activity, counters, lists, names)) = decode_row(bytes) {
            return Ok(Self {
                activity,
                counters,
                lists,
                names,
            });
        }
        // An older version gave every collection a name.
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
        })
    }
}

impl Restore {
    /// Feeds all of it. Returns the collections that have a name of their own; `None`: the workers are gone.
    ///
    /// # Errors
    /// A section cannot be read.
    pub async fn feed(
        self,
        workers: &[mpsc::Sender<Order>],
    ) -> Result<Option<Names>, DataflowError> {
        let mut sums = self.sums().await?;
        let names = sums
            .iter_mut()
            .flat_map(|saved| std::mem::take(&mut saved.names));
        let names = Names::of(names);
        let first = self.manifest.first.epoch.0 as Time;
        let shards = u32::from(SHARDS);
        // A chunk has a shard for each worker; there is a time for each chunk.
        let chunks = shards.div_ceil(workers.len() as u32).min(first).max(1);
        for chunk in 0..chunks {
            let (from, to) = (shards * chunk / chunks, shards * (chunk + 1) / chunks);
            let time = first + 1 + chunk - chunks;
            let mut segments = self.empty(workers.len(), time);
            if chunk == 0 {
                for segment in &mut segments {
                    segment.inputs.push(Input::Names(names.to_vec()));
                }
                self.feed_sums(std::mem::take(&mut sums), &names, &mut segments[0]);
            }
            self.shards(from as u16..to as u16, &mut segments).await?;
            for (worker, segment) in workers.iter().zip(segments) {
                let fed = Fed {
                    segments: vec![segment],
                    end: self.end(time),
                    cut: None,
                };
                if worker.send(Order::Feed(fed)).await.is_err() {
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

    fn empty(&self, workers: usize, time: Time) -> Vec<Segment> {
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

    /// Hands each section to the worker that its accounts belong to, or to all where they may be of several.
    async fn shards(
        &self,
        shards: std::ops::Range<u16>,
        segments: &mut [Segment],
    ) -> Result<(), DataflowError> {
        let workers = segments.len();
        for section in &self.manifest.sections {
            let Some(shard) = shard_of(section).filter(|shard| shards.contains(shard)) else {
                continue;
            };
            let bytes = Arc::new(self.read(section).await?);
            let divides = usize::from(SHARDS).is_multiple_of(workers);
            for (worker, segment) in segments.iter_mut().enumerate() {
                if !divides || usize::from(shard) % workers == worker {
                    segment.inputs.push(Input::Shard {
                        section: bytes.clone(),
                        whole: divides,
                    });
                }
            }
        }
        Ok(())
    }

    async fn sums(&self) -> Result<Vec<Saved>, DataflowError> {
        let mut sums = Vec::new();
        let sections = self.manifest.sections.iter();
        for section in sections.filter(|it| shard_of(it).is_none()) {
            let bytes = self.read(section).await?;
            let saved = Saved::decode(&bytes).map_err(|_| CheckpointError::Damaged {
                checkpoint: self.manifest.first.epoch,
                what: format!("section {:?} is not readable", section.name),
            })?;
            sums.push(saved);
        }
        Ok(sums)
    }

    /// Collections without a name are counted together: those of a checkpoint of an older version.
    fn feed_sums(&self, sums: Vec<Saved>, names: &Names, segment: &mut Segment) {
        let counted_as = |key: ActivityKey| match &*key.collection {
            "" | OTHER_COLLECTIONS => key,
            name if name.starts_with('#') || names.has(name) => key,
            _ => ActivityKey {
                collection: OTHER_COLLECTIONS.into(),
                ..key
            },
        };
        for (place, saved) in sums.into_iter().enumerate() {
            // How many records are live follows from the records.
            let activity = saved.activity.into_iter().map(|(key, all)| {
                let counted = Activity { live: 0, ..all };
                Fact::Activity(counted_as(key), counted)
            });
            let counters = saved.counters.into_iter();
            let counters = counters.map(|(name, count)| Fact::Counter(name.into(), count));
            let sums = Input::Accumulators(activity.chain(counters).collect());
            segment.inputs.push(sums);
            let lists = self.lists(saved.lists, FORMER + place);
            segment.lists.extend(lists);
        }
    }

    fn lists(&self, lists: Newest, worker: usize) -> impl Iterator<Item = WorkerList> {
        let wanted = lists.into_iter();
        let wanted = wanted.filter(|((view, _), _)| !self.without_lists.contains(view));
        wanted.map(move |((view, key), workers)| WorkerList {
            view,
            key,
            worker,
            entries: workers.into_values().flatten().collect(),
        })
    }
}
