//! Ingest, from frames to the log.
//!
//! - `assembler`: rules that need no source: time, order, filters, epochs.
//! - `bounds`: texts and sizes that strangers choose.
//! - `clocks`: whose clock is right, and frames without a time.
//! - `sources`: several relays, abandoned cursors, messages that are too large.
//! - `stream`: each row of the protocol's table of bad streams, over a socket: it happened, it was counted, and
//!   nothing else was disturbed.
//! - `resume`: lost connections, failing logs, restarts: nothing lost, nothing twice.
//! - `recordings`: every form of a recording, whole and damaged.
//! - `recorder`: making recordings, and going on with them.
//! - `limits`: texts that strangers write without end.
//! - `pace`: ticks of a quiet stream, back-pressure, stopping.

mod assembler;
mod bounds;
mod clocks;
pub mod frames;
pub mod harness;
mod limits;
mod pace;
mod recorder;
mod recordings;
mod resume;
mod sources;
mod stream;
