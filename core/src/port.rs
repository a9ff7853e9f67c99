//! The ports: what the services promise each other, as traits. Adapters live in `app`, the readable
//! specifications in [`memory`](crate::memory), one contract suite for all of them in `tests`.

pub mod clock;
pub mod job;
pub mod log;
pub mod profile;
pub mod snapshot;
pub mod store;

/// Any error behind a port's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
