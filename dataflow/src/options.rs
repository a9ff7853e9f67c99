//! Options of the dataflow, and the ports that it reads from and writes to.

use std::sync::Arc;

use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::memory::MemoryLimit;
use skytide_core::port::scratch::SpillFiles;
use skytide_core::port::store::{Recipe, ViewStore};
use skytide_core::view::ViewId;

use crate::records::AccountPolicy;
use crate::runtime::checkpoint::CheckpointOptions;

/// Options of the dataflow.
#[derive(Clone, Debug)]
pub struct Options {
    /// Timely worker threads, at least 1.
    pub workers: usize,
    /// How an account's status affects its facts.
    pub account_policy: AccountPolicy,
    /// Days for which `interactions` are retained, including the current day; `None` for no limit.
    pub interactions_days: Option<u32>,
    /// The views to compute.
    pub views: Vec<ViewId>,
    /// The number of events at which a batch is complete.
    pub batch_events_max: usize,
    /// The size of a batch's events, in bytes, at which it is complete.
    pub batch_bytes_max: usize,
    /// The maximum number of epochs in a commit; 1 commits each epoch separately.
    pub batch_epochs_max: usize,
    /// Whether to return after the tick that is marked as the last one.
    pub until_last: bool,
    /// When checkpoints are made, if [`Ports::checkpoints`] is set.
    pub checkpoint: CheckpointOptions,
    /// Whether to recompute the rows of a checkpoint and compare them with the row counts and
    /// hashes that the checkpoint records. Otherwise only the checksums of its sections are
    /// verified, and the rows computed after its last cut.
    pub verify: bool,
    /// Whether to recount from the start of the log and ignore the store and the checkpoints.
    pub rebuild: bool,
    /// The number of live records that a worker keeps in memory. It reads others from the newest
    /// checkpoint when they change. `None` keeps all in memory until [`memory`](Self::memory)
    /// requires that some are evicted. Processes that follow keep all in memory.
    pub hot_records_max: Option<usize>,
    /// Whether the workers log their operators, for
    /// [`GraphReporter`](skytide_core::port::graph::GraphReporter) and `/metrics`.
    pub operator_log: bool,
    /// The limit on the memory of this process; `None` for no limit. Above 80 % of it, live records
    /// are evicted. Above it, no further batch is taken.
    pub memory: Option<MemoryLimit>,
    /// Where state can move to when memory is short; `None` keeps all state in memory.
    pub scratch: Option<Scratch>,
}

/// Files for state that leaves memory.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// The files.
    pub files: Arc<dyn SpillFiles>,
    /// The number of pairs of `interactions` that a worker keeps in memory. It moves others to disk
    /// after each time. With `None`, they move only when memory is short.
    pub hot_pairs_max: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            account_policy: AccountPolicy::default(),
            interactions_days: Some(8),
            views: ViewId::ALL.to_vec(),
            batch_events_max: 50_000,
            batch_bytes_max: 32 << 20,
            batch_epochs_max: usize::MAX,
            until_last: false,
            checkpoint: CheckpointOptions::default(),
            verify: false,
            rebuild: false,
            hot_records_max: None,
            operator_log: true,
            memory: None,
            scratch: None,
        }
    }
}

impl Options {
    /// The part of these options that determines the rows.
    pub fn recipe(&self) -> Recipe {
        let views = self.views.iter().map(|view| (*view, view.version()));
        Recipe {
            account_policy: self.account_policy.name().into(),
            interactions_days: self.interactions_days,
            views: views.collect(),
        }
    }

    /// The number of live records that a worker keeps in memory, if it may evict any.
    pub(crate) fn records_in_memory_max(&self) -> Option<usize> {
        let unlimited = self.memory.as_ref().map(|_| usize::MAX);
        self.hot_records_max.or(unlimited)
    }
}

/// The ports of the dataflow.
#[derive(Clone)]
pub struct Ports {
    /// The log that events are read from.
    pub log: Arc<dyn Log>,
    /// The store that rows are written to.
    pub store: Arc<dyn ViewStore>,
    /// The store of checkpoints. With `None`, no checkpoints are made, and a restart reads the
    /// whole log.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
}
