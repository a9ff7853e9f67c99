//! The ports: traits between the services and the outside world. Each trait states what its
//! implementations guarantee.
//!
//! The adapters (`adapters/*`) and `app` implement them. [`memory`](crate::memory) implements them
//! in memory and serves as the readable specification. One suite of contract tests in `tests` runs
//! against all implementations.

pub mod arrival;
pub mod audit;
pub mod checkpoint;
pub mod clock;
pub mod explanation;
pub mod graph;
pub mod identity;
pub mod job;
pub mod key;
pub mod log;
pub mod memory;
pub mod profile;
pub mod size;
pub mod snapshot;
pub mod store;
pub mod wait;

/// The underlying error of a port's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
