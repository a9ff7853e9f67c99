//! The errors that stop the dataflow.

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::CheckpointError;
use skytide_core::port::log::LogError;
use skytide_core::port::store::StoreError;

use crate::runtime::cluster::Name;

/// An error that stops the dataflow. Upstream data causes none of them.
#[derive(Debug, thiserror::Error)]
pub enum DataflowError {
    /// Reading the log failed.
    #[error("cannot read the log")]
    Log(#[from] LogError),
    /// An operation of the view store failed.
    #[error("an operation of the view store failed")]
    Store(#[from] StoreError),
    /// Reading the checkpoints failed.
    #[error("cannot read the checkpoints")]
    Checkpoint(#[from] CheckpointError),
    /// The start of the log is trimmed, and no checkpoint covers the missing part. An operator must
    /// decide what to do.
    #[error(
        "the log begins at {first} and no checkpoint covers the part before it: {why}. \
         Remedies, the least destructive first: \
         (1) start with the STORE_DIR whose checkpoints belong to this log, or restore a backup of \
         its folder `checkpoints`: nothing is lost; \
         (2) restore a backup of the log and the checkpoints of the same moment: what came later \
         is read from the relay again, as far back as the relay goes; \
         (3) start once with --indexer-rebuild=true: counts start over from what the log still \
         has, and everything counted before is lost (`since` shows the new start). \
         See docs/backup.md"
    )]
    Trimmed {
        /// The first message of the log.
        first: Seq,
        /// Why each checkpoint is unusable.
        why: String,
    },
    /// The rows in the store were computed from another log, and no checkpoint belongs to this log.
    /// An operator must decide what to do.
    #[error(
        "the view store was computed from another log (at epoch {epoch}), and no checkpoint \
         matches this log: {why}. Remedies, the least destructive first: \
         (1) check NATS_URL, NATS_STREAM, STORE_DIR and MONGODB_DATABASE: if one of them changed \
         by mistake, set it back, and nothing is lost; \
         (2) restore a backup of the log and of the folder `checkpoints`: what came later is read \
         from the relay again, as far back as the relay goes; \
         (3) start once with --indexer-rebuild=true: counts start over from what this log has, and \
         everything counted from the other log is lost (`since` shows the new start). \
         See docs/backup.md"
    )]
    OtherLog {
        /// The store's committed epoch.
        epoch: Epoch,
        /// Why each checkpoint is unusable.
        why: String,
    },
    /// The tick of an epoch differs from the one that recovery read at startup.
    #[error(
        "the log changed while it was read: its tick of epoch {epoch} is not the one found at \
         startup; start again to repeat recovery"
    )]
    LogChanged {
        /// The epoch of the tick.
        epoch: Epoch,
    },
    /// Recomputed rows differ from those in the store or from those that the checkpoint records.
    #[error(
        "view {view:?} differs from what the log gives at epoch {epoch}: {stored} rows recorded, \
         {computed} computed. To write all rows again from the newest checkpoint and the log, stop \
         all services and remove the view store (the folder `store`, or the database): no count is \
         lost. See docs/backup.md"
    )]
    Differs {
        /// The view.
        view: &'static str,
        /// The store's committed epoch.
        epoch: Epoch,
        /// Rows that the store or the checkpoint records.
        stored: i64,
        /// Rows computed.
        computed: i64,
    },
    /// Ticks are out of order.
    #[error(
        "the log is damaged: tick {found} at {seq} follows tick {before}; restore a backup of the log \
         (docs/backup.md)"
    )]
    Ticks {
        /// Position of the tick in the log.
        seq: Seq,
        /// The epoch of the previous tick.
        before: Epoch,
        /// The epoch of the tick found.
        found: Epoch,
    },
    /// The log has more epochs than the dataflow can number.
    #[error("the log has more than 2^32 epochs, the most that the dataflow can number")]
    EpochsEnded,
    /// The connection to another process of the cluster is lost. All processes exit and resume
    /// together from the last checkpoint.
    #[error("{peer} of the cluster is gone: {why}")]
    Lost {
        /// The other process.
        peer: Name,
        /// How this process noticed.
        why: String,
    },
    /// The leading process has exited normally, so this process has nothing left to do.
    #[error("{leader}, the leader of the cluster, has exited")]
    LeaderEnded {
        /// The leading process.
        leader: Name,
    },
    /// Setting up a connection between two processes failed.
    #[error("cannot use a connection of the cluster")]
    Connection(#[source] std::io::Error),
    /// A worker panicked: an invariant of our own state is broken.
    #[error("a worker thread failed: {0}")]
    Panicked(String),
}
