//! The log, the view store, checkpoints, profiles, snapshots and job states in a folder on this
//! machine. No server is needed.
//!
//! # What it holds
//!
//! ```text
//! data/skytide.toml  format, name of the source          DataDir
//! data/log/          segments of messages                EmbeddedLog         docs/log.md
//! data/store/        an LSM tree for each view           EmbeddedStore       docs/store.md
//!                    fetched profiles                    EmbeddedProfiles
//! data/checkpoints/  sections and manifests              EmbeddedCheckpoints docs/checkpoints.md
//! data/scratch/      state that left memory, emptied  ScratchFolder       docs/capacity.md
//!                    at start
//! data/snapshots/    one file for each snapshot          SnapshotDir
//! data/jobs.json     the state of the jobs               JobFile
//! data/keys.json     the keys of the API                 KeyFile             docs/keys.md
//! data/admin.key     the admin key                       AdminKeyFile
//! ```
//!
//! [`DataDir`] opens the folder and checks whose data it holds; [`Hold`] is the lock on a [`Part`]
//! of it. Each of the other types implements one port of `skytide-core`.
//!
//! The log is the source of truth: a message is durable when `flush` returns, and a reader checks
//! every byte. The view store is computed from the log and can be recomputed. Therefore a commit of
//! the store must be atomic and in order, but need not be durable when it returns.
//!
//! # What it depends on
//!
//! Of this workspace only `skytide-core`. The view store is a `fjall` database; snapshots are
//! compressed with `zstd`.
//!
//! # What it does not know
//!
//! It knows no other adapter and no service: not what the views mean, who calls it, or which
//! options chose it. It reads no environment variable and no clock for anything that is stored.

mod admin_key;
mod checkpoint;
mod durable;
mod folder;
mod jobs;
mod keys;
mod log;
mod private;
mod profiles;
mod scratch;
mod snapshots;
mod store;

pub use admin_key::AdminKeyFile;
pub use checkpoint::{CheckpointFolder, DiskFiles, EmbeddedCheckpoints, Files};
pub use durable::replace_file;
pub use folder::{DataDir, DataDirError, Hold, Part};
pub use jobs::JobFile;
pub use keys::KeyFile;
pub use log::{EmbeddedLog, LogOptions};
pub use profiles::EmbeddedProfiles;
pub use scratch::ScratchFolder;
pub use snapshots::SnapshotDir;
pub use store::{EmbeddedStore, SnapshotReader, StoreOptions};
