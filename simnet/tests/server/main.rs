//! The servers as their clients see them over the network.

mod client;
mod endpoints;
mod faults;
mod frames;
mod pace;
mod stream;
