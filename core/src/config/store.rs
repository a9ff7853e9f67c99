//! Options of the embedded log and view store.

use std::path::PathBuf;

use super::{ByteSize, between};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// The location and size of the embedded log and view store.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Store (embedded log and views)")]
pub struct Store {
    /// The folder with log, views, checkpoints and snapshots; created if it does not exist. With
    /// NATS and MongoDB it still holds the checkpoints.
    #[arg(id = "STORE_DIR", long = "store-dir", env = "STORE_DIR")]
    #[arg(value_name = "DIR", default_value = "./data")]
    pub dir: PathBuf,

    /// Maximum size of the log. At the limit, ingest blocks and reports it; nothing is lost.
    #[arg(
        id = "STORE_LOG_BYTES_MAX",
        long = "store-log-bytes-max",
        env = "STORE_LOG_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "64GiB")]
    #[arg(value_parser = between(ByteSize(64 * MIB)..=ByteSize(64 * TIB)))]
    pub log_bytes_max: ByteSize,

    /// Approximate size of one segment file of the log. Space is freed by deleting whole segments,
    /// but never the newest. Therefore a segment has at most a quarter of `STORE_LOG_BYTES_MAX`,
    /// even if this value is larger.
    #[arg(
        id = "STORE_LOG_SEGMENT_BYTES",
        long = "store-log-segment-bytes",
        env = "STORE_LOG_SEGMENT_BYTES"
    )]
    #[arg(value_name = "BYTES", default_value = "64MiB")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(1_024 * MIB)))]
    pub log_segment_bytes: ByteSize,

    /// Memory for the read cache of the view store.
    #[arg(
        id = "STORE_CACHE_BYTES",
        long = "store-cache-bytes",
        env = "STORE_CACHE_BYTES"
    )]
    #[arg(value_name = "BYTES", default_value = "256MiB")]
    #[arg(value_parser = between(ByteSize(16 * MIB)..=ByteSize(TIB)))]
    pub cache_bytes: ByteSize,
}
