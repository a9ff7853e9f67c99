//! All tests that need more than one crate, as one binary.

mod contract;
mod damage;
mod ingest;
mod mongo;
mod nats;
mod recount;
mod servers;
mod tidy;
mod vectors;
