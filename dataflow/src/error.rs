//! Why the dataflow stopped.

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::CheckpointError;
use skytide_core::port::log::LogError;
use skytide_core::port::store::StoreError;

use crate::cluster::Name;

/// Why the dataflow stopped. None of these is caused by upstream data.
#[derive(Debug, thiserror::Error)]
pub enum DataflowError {
    /// Reading the log failed.
    #[error("the log could not be read")]
    Log(#[from] LogError),
    /// The store refused.
    #[error("the view store refused")]
    Store(#[from] StoreError),
    /// The checkpoints could not be read.
    #[error("the checkpoints could not be read")]
    Checkpoint(#[from] CheckpointError),
    /// The log's beginning is gone, and no checkpoint can take its place: a person must decide.
    #[error(
        "the log begins at {first} and no checkpoint leads to there: {why}. \
         To start over from what the log still has (`since` will say so), use --indexer-rebuild=true once"
    )]
    Trimmed {
        /// Its first message.
        first: Seq,
        /// What is wrong with each checkpoint.
        why: String,
    },
    /// The views are to be started over from a log whose epochs the store is ahead of.
    #[error(
        "the view store is at epoch {store}, but the log it is to be rebuilt from ends at epoch {log}: \
         empty the view store first"
    )]
    RebuildBehind {
        /// The store's committed epoch.
        store: Epoch,
        /// The log's newest one.
        log: Epoch,
    },
    /// The rows in the store come from another log.
    #[error("the view store was computed from another log (at epoch {epoch})")]
    OtherLog {
        /// The store's committed epoch.
        epoch: Epoch,
    },
    /// The log lost messages that the store has seen.
    #[error(
        "the log ends before {log}, but the view store was computed up to {store}: messages were lost"
    )]
    LogBehind {
        /// What the store has seen.
        store: Seq,
        /// Where the log ends.
        log: Seq,
    },
    /// Rows computed again are not those in the store, or not those that the checkpoint says.
    #[error(
        "view {view:?} differs from what the log gives at epoch {epoch}: {stored} rows noted, {computed} computed"
    )]
    Differs {
        /// The view.
        view: &'static str,
        /// The store's committed epoch.
        epoch: Epoch,
        /// Rows in the store.
        stored: i64,
        /// Rows computed.
        computed: i64,
    },
    /// Ticks are out of order.
    #[error("the log is damaged: tick {found} at {seq} follows tick {before}")]
    Ticks {
        /// Where.
        seq: Seq,
        /// The tick before.
        before: Epoch,
        /// The tick found.
        found: Epoch,
    },
    /// More epochs than the dataflow can number.
    #[error("the log has more than 2^32 epochs")]
    EpochsEnded,
    /// Another process of the cluster is gone: all end, and go on together from the last checkpoint.
    #[error("{peer} of the cluster is gone: {why}")]
    Lost {
        /// Which.
        peer: Name,
        /// How it showed.
        why: String,
    },
    /// The leading process has ended in good order, and with it what this one was there for.
    #[error("{leader} of the cluster, which leads, has ended")]
    LeaderEnded {
        /// The leading process.
        leader: Name,
    },
    /// A connection could not be taken into use.
    #[error("a connection of the cluster cannot be used")]
    Connection(#[source] std::io::Error),
    /// A worker panicked: an invariant of our own state is broken.
    #[error("a worker stopped: {0}")]
    Panicked(String),
}
