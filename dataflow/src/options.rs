//! How the dataflow works, and what it reads from and writes to.

use std::sync::Arc;

use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{Recipe, ViewStore};
use skytide_core::view::ViewId;

use crate::records::AccountPolicy;
use crate::runtime::checkpoint::CheckpointOptions;

/// How the dataflow works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Timely worker threads, at least 1.
    pub workers: usize,
    /// What an account's status does to its facts.
    pub account_policy: AccountPolicy,
    /// Days for which `interactions` are kept, the open one included; `None`: for ever.
    pub interactions_days: Option<u32>,
    /// The views to compute.
    pub views: Vec<ViewId>,
    /// Events at which a commit takes no further epoch.
    pub batch_events_max: usize,
    /// Bytes of events at which a commit takes no further epoch.
    pub batch_bytes_max: usize,
    /// Epochs in a commit at most; 1 commits each epoch.
    pub batch_epochs_max: usize,
    /// Whether to return behind the tick that says it is the last.
    pub until_last: bool,
    /// When checkpoints are made, if there is a place for them.
    pub checkpoint: CheckpointOptions,
    /// Whether to compute the rows of a checkpoint again and compare them with the sums it states. Without, its sections'
    /// checksums are compared, and the rows from its last cut on.
    pub verify: bool,
    /// Whether to start over from what the log has, whatever the store and the checkpoints hold.
    pub rebuild: bool,
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
        }
    }
}

impl Options {
    /// How rows are computed with these options.
    pub fn recipe(&self) -> Recipe {
        let views = self.views.iter().map(|view| (*view, view.version()));
        Recipe {
            account_policy: self.account_policy.name().into(),
            interactions_days: self.interactions_days,
            views: views.collect(),
        }
    }
}

/// What the dataflow stands on.
#[derive(Clone)]
pub struct Ports {
    /// Where events come from.
    pub log: Arc<dyn Log>,
    /// Where rows go.
    pub store: Arc<dyn ViewStore>,
    /// Where checkpoints are kept; `None`: none are made, and a restart reads the whole log.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
}
