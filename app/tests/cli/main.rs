//! The binary itself, as a user runs it.

mod expected;
mod process;
mod refusals;
mod replaying;
mod services;
