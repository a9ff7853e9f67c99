//! The types and rules that all services of Skytide share, and nothing else: identifiers, events,
//! records, views, ports and options.
//!
//! ```text
//! id, time ─▶ event ─▶ port::log          the messages of the log
//! cbor ─▶ record                          record bytes parsed to typed facts, within limits
//! id ─▶ view ─▶ port::store               the rows that a commit makes final
//! memory                                  every port in memory: a readable specification
//! config                                  every option, declared once
//! ```
//!
//! This crate reads no network, file, environment or clock, and draws no random numbers. Functions
//! that need the time or a random number take it as an argument.

pub mod base32;
pub mod cbor;
pub mod config;
pub mod event;
pub mod id;
pub mod limits;
pub mod live;
pub mod memory;
pub mod port;
pub mod record;
pub mod time;
pub mod view;
