//! All tests that involve more than one crate, as one binary.

mod accidents;
mod audit;
mod cluster;
mod connections;
mod consistency;
mod contract;
mod crash;
mod damage;
mod deploy;
mod histograms;
mod ingest;
mod jobs;
mod mongo;
mod nats;
mod original;
mod recount;
mod restart;
mod servers;
mod simnet;
mod textbook;
mod tidy;
mod upgrade;
mod vectors;
