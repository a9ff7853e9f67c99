//! The binary itself, as a user runs it.

mod expected;
mod killed;
mod process;
mod refusals;
mod replaying;
mod services;
