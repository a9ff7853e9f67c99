//! What the tests are made of: a naive recount, random worlds, checkers. Nobody depends on it.

pub mod checkers;
pub mod contract_checkpoint;
pub mod contract_log;
pub mod contract_store;
pub mod copies;
pub mod model;
pub mod relay;
pub mod world;
