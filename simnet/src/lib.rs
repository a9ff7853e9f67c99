//! A simulated network of real bytes, for the demo, tests and benchmarks.
//!
//! ```text
//! Options ─▶ Network ─▶ Frame: bytes as a relay sends them, and beside them, never read from the bytes:
//!               │              events, what records say, what is wrong, what must be counted
//!               └─▶ repos, handles, profiles, keys
//! ```
//!
//! Accounts have keys, repos are trees with signed commits and proofs, people follow stories, regret, leave and come back
//! (`docs/simnet.md`). A network is a function of its options: no clock, no randomness of the machine.

pub mod bad;
mod car;
mod cbor;
mod content;
mod envelope;
pub mod faults;
mod frame;
mod identity;
mod ledger;
pub mod mst;
mod network;
mod options;
mod random;
mod record;
mod recording;
pub mod recount;
mod render;
pub mod server;
mod truth;
mod words;
mod world;

pub use content::{Content, PostContent, ProfileContent};
pub use envelope::{error, info};
pub use frame::Frame;
pub use ledger::{Ledger, LedgerTotals, Tallies};
pub use network::{Account, Network};
pub use options::Options;
pub use recording::{End, RecordingError, Written, identities, write_recording};
pub use truth::{Expected, Totals};
