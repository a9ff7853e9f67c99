//! Why the dataflow stopped.

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::CheckpointError;
use skytide_core::port::log::LogError;
use skytide_core::port::store::StoreError;

use crate::runtime::cluster::Name;

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
        "the log begins at {first} and no checkpoint leads to there: {why}. What helps, the least destructive first: \
         (1) start with the STORE_DIR whose checkpoints belong to this log, or put a backup of its folder `checkpoints` back: \
         nothing is lost; (2) put back a backup of log and checkpoints of the same moment: what came after it is read from \
         the relay again, as far back as the relay goes; (3) --indexer-rebuild=true once: counts start over from what the \
         log still has, and everything counted before is lost (`since` will say so). See docs/backup.md"
    )]
    Trimmed {
        /// Its first message.
        first: Seq,
        /// What is wrong with each checkpoint.
        why: String,
    },
    /// The rows in the store come from another log, and no checkpoint says that this one is ours: a person must decide.
    #[error(
        "the view store was computed from another log (at epoch {epoch}), and no checkpoint matches this log: {why}. \
         What helps, the least destructive first: (1) check NATS_URL, NATS_STREAM, STORE_DIR and MONGODB_DATABASE: if one of \
         them names something else than before, set it back, and nothing is lost; (2) put back a backup of the log and of \
         the folder `checkpoints`: what came after it is read from the relay again, as far back as the relay goes; \
         (3) --indexer-rebuild=true once: counts start over from what this log has, and everything counted from the other \
         log is lost (`since` will say so). See docs/backup.md"
    )]
    OtherLog {
        /// The store's committed epoch.
        epoch: Epoch,
        /// What is wrong with each checkpoint.
        why: String,
    },
    /// The log has another tick than a moment ago, when the start looked.
    #[error(
        "the log has another tick than the one of epoch {epoch}: it changed while it was read; the next start decides again"
    )]
    LogChanged {
        /// Which.
        epoch: Epoch,
    },
    /// Rows computed again are not those in the store, or not those that the checkpoint says.
    #[error(
        "view {view:?} differs from what the log gives at epoch {epoch}: {stored} rows recorded, {computed} computed. \
         To have all rows written again from the newest checkpoint and the log, stop all services and remove the view store \
         (the folder `store`, or the database): no count is lost. See docs/backup.md"
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
