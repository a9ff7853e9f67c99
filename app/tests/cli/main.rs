//! The binary itself, as a user runs it.

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
#[cfg(target_os = "linux")]
mod image;
mod killed;
#[cfg(target_os = "linux")]
mod manager;
mod process;
mod refusals;
mod replaying;
mod services;
mod simnet;
