//! All tests that need more than one crate, as one binary.

mod contract;
mod damage;
mod ingest;
mod recount;
mod restart;
mod tidy;
mod vectors;
