//! What all services of Skytide agree on, and nothing else: identifiers, events, records, views, ports.
//!
//! ```text
//! id, time ─▶ event ─▶ port::log          what crosses the log
//! cbor ─▶ record                          record bytes to typed facts, within limits
//! id ─▶ view ─▶ port::store               what a commit makes final
//! memory                                  both ports, in memory: the readable specification
//! config                                  every option, once
//! ```
//!
//! No network, no clock, no randomness: whatever needs one takes it as an argument.

pub mod base32;
pub mod cbor;
pub mod config;
pub mod event;
pub mod id;
pub mod limits;
pub mod memory;
pub mod port;
pub mod record;
pub mod time;
pub mod view;
