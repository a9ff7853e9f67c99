//! A simulated network of real bytes, for the demo, tests and benchmarks.

pub mod faults;
pub mod server;
