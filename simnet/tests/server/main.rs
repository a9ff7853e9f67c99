//! The servers over the network, as their clients see them.

mod client;
mod endpoints;
mod faults;
mod frames;
mod pace;
mod stream;
