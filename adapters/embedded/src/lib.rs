//! The ports on this machine's disk: no server to install.
//!
//! ```text
//! data/skytide.toml     format and source            DataDir
//! data/log/             segments of messages         EmbeddedLog     docs/log.md
//! data/store/           an LSM tree for each view    EmbeddedStore   docs/store.md
//! data/checkpoints/     sections and manifests       EmbeddedCheckpoints  docs/checkpoints.md
//! ```
//!
//! The log is the truth: it is durable when it says so, and every byte of it is checked when it is read. The store
//! can be computed again from it, so a commit there need only be atomic and in order.

mod checkpoint;
mod durable;
mod folder;
mod jobs;
mod log;
mod profiles;
mod snapshots;
mod store;

pub use checkpoint::{DiskFiles, EmbeddedCheckpoints, Files};
pub use durable::replace_file;
pub use folder::{DataDir, DataDirError, Hold, Part};
pub use jobs::JobFile;
pub use log::{EmbeddedLog, LogOptions};
pub use profiles::EmbeddedProfiles;
pub use snapshots::SnapshotDir;
pub use store::{EmbeddedStore, StillStore, StoreOptions};
