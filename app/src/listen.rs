//! From the address in an option to the one on which a server listens.

use std::net::SocketAddr;

use skytide_core::config::ListenAddress;
use tokio::net::lookup_host;

use crate::failure::Failure;

/// The first of the addresses that a name stands for, IPv4 before IPv6: clients that know only one of them know that one.
///
/// # Errors
/// The name in `option` has no address.
pub async fn resolve(address: &ListenAddress, option: &str) -> Result<SocketAddr, Failure> {
    let found = lookup_host((address.host(), address.port())).await;
    let mut found: Vec<SocketAddr> = found
        .map_err(|why| {
            let what = format!("the name in {option} ({address}) cannot be resolved");
            Failure::because(what, why)
        })?
        .collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied();
    first.ok_or_else(|| Failure::new(format!("the name in {option} ({address}) has no address")))
}
