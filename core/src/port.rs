//! The ports: traits between the services and the outside world. Each trait states what its
//! implementations guarantee.
//!
//! The adapters (`adapters/*`) and `app` implement them. [`memory`](crate::memory) implements them
//! in memory and serves as the readable specification. One suite of contract tests in `tests` runs
//! against all implementations.

use std::pin::Pin;

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
pub mod scratch;
pub mod size;
pub mod snapshot;
pub mod store;
pub mod wait;

/// The underlying error of a port's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A future whose code is compiled in the crate that creates it. The body of an `async fn` is
/// compiled again in each crate that awaits it, so large ones that other crates call return this.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
