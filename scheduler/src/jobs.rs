//! The jobs, one a file.

mod retention;
mod snapshot;
#[cfg(test)]
mod testing;

pub use retention::Retention;
pub use snapshot::TakeSnapshot;
