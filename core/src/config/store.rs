//! Options of the embedded log and view store.

use std::path::PathBuf;

use super::{ByteSize, between};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Where the embedded log and view store live, and how large they grow.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Store (embedded log and views)")]
pub struct Store {
    /// The folder that holds log, views, checkpoints and snapshots; made when it is not there. Checkpoints are here also with
    /// NATS and MongoDB.
    #[arg(id = "STORE_DIR", long = "store-dir", env = "STORE_DIR")]
    #[arg(value_name = "DIR", default_value = "./data")]
    pub dir: PathBuf,

    /// Bytes of the log, at most. At the limit ingest waits and says so; nothing is lost.
    #[arg(
        id = "STORE_LOG_BYTES_MAX",
        long = "store-log-bytes-max",
        env = "STORE_LOG_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "64GiB")]
    #[arg(value_parser = between(ByteSize(64 * MIB)..=ByteSize(64 * TIB)))]
    pub log_bytes_max: ByteSize,

    /// Bytes of one file of the log, about. Room is made by removing whole files, never the newest: so a file is a quarter of
    /// `STORE_LOG_BYTES_MAX` at most, also if more is said here.
    #[arg(
        id = "STORE_LOG_SEGMENT_BYTES",
        long = "store-log-segment-bytes",
        env = "STORE_LOG_SEGMENT_BYTES"
    )]
    #[arg(value_name = "BYTES", default_value = "64MiB")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(1_024 * MIB)))]
    pub log_segment_bytes: ByteSize,

    /// Bytes of memory in which the view store keeps what was read.
    #[arg(
        id = "STORE_CACHE_BYTES",
        long = "store-cache-bytes",
        env = "STORE_CACHE_BYTES"
    )]
    #[arg(value_name = "BYTES", default_value = "256MiB")]
    #[arg(value_parser = between(ByteSize(16 * MIB)..=ByteSize(TIB)))]
    pub cache_bytes: ByteSize,
}
