//! Checkpoints in memory, for unit tests.

use std::sync::Arc;

use skytide_core::id::{Did, Epoch};
use skytide_state::{Run, merge_runs};

use super::build_run;
use crate::records::state::{CheckpointId, LiveRecords};
use crate::records::{OpenRuns, SHARDS};
use crate::saved_shard::SavedShard;

/// The newest complete checkpoint.
#[derive(Default)]
pub(crate) struct Checkpoints {
    pub complete: Vec<SavedShard>,
    pub base: Option<CheckpointId>,
    pub attempts: u64,
    /// The number of records that a worker keeps in memory.
    pub hot_records_max: Option<usize>,
}

impl Checkpoints {
    /// No checkpoint; a worker keeps this many records in memory, or all.
    pub fn with_hot_records(hot_records_max: Option<usize>) -> Self {
        Self {
            hot_records_max,
            ..Self::default()
        }
    }

    /// Cuts all shards of the states of all workers. The checkpoint then completes, or fails.
    pub fn make_of(&mut self, states: &mut [LiveRecords], completes: bool) {
        self.attempts += 1;
        let id = (Epoch(self.attempts / 2), self.attempts);
        let mut shards = Vec::new();
        for shard in 0..SHARDS {
            let mut saved = SavedShard::default();
            let mut changes = Vec::new();
            for state in states.iter_mut() {
                if let Some(part) = state.save(shard, id, self.base) {
                    saved.sections.push(Arc::new(part.section));
                    changes.push(part.changes);
                }
            }
            let name = format!("run{shard:02}-{}", self.attempts);
            let run = build_run(&name, &changes).map(|it| (name.into(), Arc::new(it)));
            let older = self.base.map(|_| &self.complete[usize::from(shard)].runs);
            saved.runs.extend(run);
            saved.runs.extend(older.into_iter().flatten().cloned());
            if saved.runs.len() > 3 {
                saved.runs = merged(&saved.runs, self.attempts);
            }
            shards.push(saved);
        }
        if completes {
            self.complete = shards;
            self.base = Some(id);
            let open = self.open_runs(id);
            for state in states {
                state.set_open_runs(open.clone());
            }
        }
    }

    fn open_runs(&self, id: CheckpointId) -> Option<Arc<OpenRuns>> {
        let hot_records_max = self.hot_records_max?;
        let shards = self.complete.iter().map(|saved| {
            let runs = saved.runs.iter().map(|(name, bytes)| {
                let run = Run::open(name, bytes.clone());
                Arc::new(run.expect("it is intact"))
            });
            runs.collect()
        });
        Some(Arc::new(OpenRuns {
            id,
            shards: shards.collect(),
            hot_records_max,
        }))
    }

    /// As [`make_of`](Self::make_of) for one worker.
    pub fn make(&mut self, state: &mut LiveRecords, completes: bool) {
        self.make_of(std::slice::from_mut(state), completes);
    }

    /// The next checkpoint contains everything, as after damage.
    pub fn forget_base(&mut self) {
        self.base = None;
    }

    /// Restores the newest complete checkpoint into a new state.
    pub fn load(&self, state: &mut LiveRecords, is_own: impl Fn(&Did) -> bool) {
        if let Some((epoch, _)) = self.base {
            // The restored checkpoint has attempt 0.
            state.set_open_runs(self.open_runs((epoch, 0)));
        }
        state.set_restored();
        for saved in &self.complete {
            state.load(saved, Some(&is_own)).expect("it is intact");
        }
    }
}

/// The newest two or all of the runs as one.
fn merged(runs: &[(Box<str>, Arc<Vec<u8>>)], attempt: u64) -> Vec<(Box<str>, Arc<Vec<u8>>)> {
    let count = if attempt.is_multiple_of(3) {
        runs.len()
    } else {
        2
    };
    let opened = runs[..count].iter();
    let opened = opened.map(|(name, bytes)| {
        let run = Run::open(name, bytes.clone());
        Arc::new(run.expect("it is intact"))
    });
    let opened: Vec<_> = opened.collect();
    let name: Box<str> = format!("merged-{attempt}").into();
    let bytes = merge_runs(&name, &opened, count < runs.len());
    let bytes = bytes.expect("they are intact").map(Arc::new);
    let merged = bytes.map(|bytes| (name, bytes)).into_iter();
    merged.chain(runs[count..].iter().cloned()).collect()
}
