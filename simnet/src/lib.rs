//! A simulated network of real bytes, for the demo, tests and benchmarks.
//!
//! ```text
//! Options ─▶ Network ─┬─▶ Frame: bytes as a relay sends them, and the ground truth:
//!                     │          events, record contents, malformed kind, expected counts
//!                     └─▶ repos, handles, profiles, keys
//! ```
//!
//! The ground truth is never read back from the bytes. Accounts have keys. Repos are trees with
//! signed commits and proofs. People follow breaking stories, delete and edit what they wrote,
//! deactivate and reactivate their accounts (`docs/simnet.md`). A network is a function of its
//! options: it reads no clock and no random numbers of the machine.

mod car;
mod cbor;
mod content;
mod envelope;
mod expected;
pub mod faults;
mod frame;
mod identity;
mod ledger;
pub mod malformed;
pub mod mst;
mod network;
mod options;
mod random;
mod record;
mod recording;
mod render;
pub mod server;
mod words;
mod world;

pub use content::{Content, PostContent, ProfileContent};
pub use envelope::{error, info};
pub use expected::{Expected, Totals};
pub use frame::Frame;
pub use ledger::{Ledger, LedgerTotals, Tallies};
pub use network::{Account, Network};
pub use options::Options;
pub use recording::{RecordingEnd, RecordingError, RecordingStats, identities, write_recording};
