//! The binary, tested as a user runs it.

#[cfg(target_os = "linux")]
mod apart;
#[cfg(unix)]
mod auditing;
#[cfg(target_os = "linux")]
mod away;
mod capacity;
#[cfg(unix)]
mod cluster;
mod demo;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(target_os = "linux")]
mod ending;
mod expected;
#[cfg(unix)]
mod exporting;
#[cfg(target_os = "linux")]
mod image;
#[cfg(unix)]
mod jobs;
mod keys;
mod killed;
#[cfg(target_os = "linux")]
mod manager;
#[cfg(unix)]
mod names;
mod observing;
#[cfg(unix)]
mod piped;
mod process;
mod refusals;
mod relays;
mod replaying;
mod services;
mod simnet;
mod top;
