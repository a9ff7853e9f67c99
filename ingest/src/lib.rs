//! See Cargo.toml.

pub mod car;
pub mod frame;
