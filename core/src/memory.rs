//! The ports in memory: the readable specification of what every log and store does, and what tests run on.
//!
//! Handles are cheap to clone and share one log or store. Nothing here blocks a thread, reads a clock or does I/O.

mod checkpoint;
mod log;
mod store;

pub use checkpoint::MemoryCheckpoints;
pub use log::MemoryLog;
pub use store::MemoryStore;
