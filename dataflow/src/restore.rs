//! A checkpoint is taken in: its accounts shard by shard, each chunk at a time of its own, the sums with the last.
//!
//! ```text
//! times     first - n + 1 ... first - 1        first │ first + 1 ... last │ ...
//!           shards │ shards │ ... │ shards, sums     │ the log; accounts  │ the log
//!                                                    │ from their cut on  │
//! ```
//!
//! All facts of an account are told anew, so every operator builds itself again; the clock stands at the first cut.
//! Between the first cut and the last, views are not exact, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Section};
use skytide_core::view::{ActivityKey, ViewId, decode_row};
use tokio::sync::mpsc;

use crate::DataflowError;
use crate::batch::{End, Segment};
use crate::fact::{Activity, Fact};
use crate::graph::Sums;
use crate::metrics::Metrics;
use crate::operators::lists::{FORMER, Newest, WorkerList};
use crate::records::SHARDS;
use crate::types::{Clock, Input, Time};
use crate::worker::{Fed, Order};

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

impl Sums {
    /// As bytes, for a checkpoint.
    pub(crate) fn save(&self) -> Vec<u8> {
        let Self {
            activity,
            counters,
            lists,
        } = self;
        let all = (&*activity.borrow(), &*counters.borrow(), &*lists.borrow());
        skytide_core::view::encode_row(&all).into()
    }
}

type Saved = (
    BTreeMap<ActivityKey, Activity>,
    BTreeMap<String, u64>,
    Newest,
);

impl Restore {
    /// Feeds all of it; false if the workers are gone.
    ///
    /// # Errors
    /// A section cannot be read.
    pub async fn feed(self, workers: &[mpsc::Sender<Order>]) -> Result<bool, DataflowError> {
        let first = self.manifest.first.epoch.0 as Time;
        let shards = u32::from(SHARDS);
        // A chunk has a shard for each worker; there is a time for each chunk.
        let chunks = shards.div_ceil(workers.len() as u32).min(first).max(1);
        for chunk in 0..chunks {
            let (from, to) = (shards * chunk / chunks, shards * (chunk + 1) / chunks);
            let time = first + 1 + chunk - chunks;
            let mut segments = self.empty(workers.len(), time);
            self.shards(from as u16..to as u16, &mut segments).await?;
            if chunk + 1 == chunks {
                self.sums(&mut segments).await?;
            }
            for (worker, segment) in workers.iter().zip(segments) {
                let fed = Fed {
                    segments: vec![segment],
                    end: self.end(time),
                    cut: None,
                };
                if worker.send(Order::Feed(fed)).await.is_err() {
                    return Ok(false);
                }
            }
            self.metrics.restoring.set(i64::from(shards - to));
        }
        Ok(true)
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

    async fn sums(&self, segments: &mut [Segment]) -> Result<(), DataflowError> {
        let sections = self.manifest.sections.iter();
        for (place, section) in sections.filter(|it| shard_of(it).is_none()).enumerate() {
            let bytes = self.read(section).await?;
            let saved: Result<Saved, _> = decode_row(&bytes);
            let (activity, counters, lists) = saved.map_err(|_| CheckpointError::Damaged {
                checkpoint: self.manifest.first.epoch,
                what: format!("section {:?} is not readable", section.name),
            })?;
            // How many records are live follows from the records.
            let activity = activity.into_iter().map(|(key, all)| {
                let counted = Activity { live: 0, ..all };
                Fact::Activity(key, counted)
            });
            let counters = counters.into_iter();
            let counters = counters.map(|(name, count)| Fact::Counter(name.into(), count));
            let sums = Input::Sums(activity.chain(counters).collect());
            segments[0].inputs.push(sums);
            segments[0].lists.extend(self.lists(lists, FORMER + place));
        }
        Ok(())
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
