//! Keyed state in immutable sorted runs. A run is one sequence of bytes with sorted entries. Several
//! runs together are a table: the newest run that contains a key has its value.
//!
//! ```text
//! sorted changes ─▶ RunWriter ─▶ run 3 ┐
//!                                run 2 ├─ newest first ─▶ get: filter ─▶ index ─▶ one block
//!                                run 1 ┘                  scan: merged in the order of keys
//!                                  └─ merge_runs: adjacent runs become one
//! ```
//!
//! A run never changes. Every byte that is read is covered by a checksum, which also depends on the
//! name of the run and the offset in it. An error names both.
//!
//! [`Spill`] writes runs that live as long as the process: state that leaves memory.
//!
//! The crate has no clock, no threads and no files. It reads a run through [`ReadFile`]; the caller
//! stores the bytes of a new run. A spill reads and writes through a port of `skytide-core`.

mod block;
mod error;
mod filter;
mod merge;
mod policy;
mod run;
mod spill;
#[cfg(test)]
mod testing;

pub use error::StateError;
pub use merge::{Merge, merge_runs};
pub use policy::MergePolicy;
pub use run::{Lookup, ReadFile, Run, RunSummary, RunWriter};
pub use spill::{Piece, PieceWriter, Pieces, Spill, SpillError};
