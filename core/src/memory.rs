//! The ports in memory: the readable specification of what every log and store does, and what tests run on.
//!
//! Handles are cheap to clone and share one log or store. Nothing here blocks a thread, reads a clock or does I/O.

mod jobs;
mod log;
mod profiles;
mod snapshots;
mod store;

pub use jobs::MemoryJobs;
pub use log::MemoryLog;
pub use profiles::MemoryProfiles;
pub use snapshots::MemorySnapshots;
pub use store::MemoryStore;
