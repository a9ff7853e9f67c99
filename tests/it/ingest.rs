//! Ingest, from frames to the log.
//!
//! - `assembler`: rules that need no source: time, order, filters, epochs.
//! - `stream`: each row of the protocol's table of bad streams, over a socket: the event happens,
//!   is counted, and affects nothing else.
//! - `resume`: lost connections, failing logs, restarts: nothing is lost or written twice.
//! - `recordings`: every form of a recording, intact and damaged.
//! - `recorder`: making recordings, and continuing them.
//! - `pace`: ticks of an idle stream, back-pressure, stopping.

mod assembler;
pub mod frames;
pub mod harness;
mod pace;
mod recorder;
mod recordings;
mod resume;
mod stream;
