//! All ports in memory. They are the readable specification of the ports' behaviour, and tests run
//! on them.
//!
//! Values of these types are cheap to clone, and clones share one log or store. Nothing in this
//! module blocks a thread, reads a clock or performs I/O.

mod checkpoint;
mod jobs;
mod keys;
mod log;
mod profiles;
mod scratch;
mod snapshots;
mod store;

pub use checkpoint::MemoryCheckpoints;
pub use jobs::MemoryJobs;
pub use keys::MemoryKeys;
pub use log::MemoryLog;
pub use profiles::{MemoryProfiles, RequestQueue};
pub use scratch::MemoryScratch;
pub use snapshots::MemorySnapshots;
pub use store::MemoryStore;
