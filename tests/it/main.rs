//! All tests that need more than one crate, as one binary.

mod contract;
mod damage;
mod recount;
mod vectors;
