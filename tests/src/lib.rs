//! Building blocks of the tests: a naive recount, random worlds, checkers, contract suites,
//! servers. No other crate depends on this one.

pub mod allocated;
pub mod checkers;
pub mod contract_checkpoint;
pub mod contract_jobs;
pub mod contract_keys;
pub mod contract_log;
pub mod contract_profiles;
pub mod contract_snapshots;
pub mod contract_store;
pub mod copies;
pub mod faulty;
pub mod hostile;
pub mod made;
pub mod meter;
pub mod reading;
pub mod relay;
pub mod servers;
pub mod textbook;
pub mod world;

pub use skytide_audit::recount as model;
