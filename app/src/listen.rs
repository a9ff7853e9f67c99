//! Resolves the address in an option to the address on which a server listens, and that to the
//! address to connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use skytide_core::config::ListenAddress;
use tokio::net::lookup_host;

use crate::failure::Failure;

/// The first address of a name. IPv4 comes before IPv6, because clients that can use only one of
/// them can use IPv4.
///
/// # Errors
///
/// The name in `option` cannot be resolved or has no address.
pub async fn resolve(address: &ListenAddress, option: &str) -> Result<SocketAddr, Failure> {
    let found = lookup_host((address.host(), address.port())).await;
    let mut found: Vec<SocketAddr> = found
        .map_err(|why| {
            let what = format!("cannot resolve the host name in {option} ({address})");
            Failure::because(what, why)
        })?
        .collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied();
    first.ok_or_else(|| {
        Failure::new(format!(
            "the host name in {option} ({address}) has no address"
        ))
    })
}

/// The address to connect to: loopback, if the service listens on all addresses.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
