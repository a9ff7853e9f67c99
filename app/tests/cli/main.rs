//! The binary, tested as a user runs it.

#[cfg(target_os = "linux")]
mod apart;
#[cfg(target_os = "linux")]
mod away;
#[cfg(unix)]
mod cluster;
mod demo;
#[cfg(target_os = "linux")]
mod disk;
mod expected;
mod killed;
mod process;
mod refusals;
mod replaying;
mod services;
mod simnet;
