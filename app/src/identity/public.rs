//! Which hosts a stranger may make this process connect to: public ones only. A host name is
//! checked by the addresses that are connected to, so a name that later resolves to another address
//! is refused, too.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use skytide_core::id::is_handle;

/// Domains that are not part of the public name space
/// (<https://atproto.com/specs/handle#additional-non-syntax-restrictions>,
/// <https://www.rfc-editor.org/rfc/rfc6761>).
const RESERVED_DOMAINS: [&str; 9] = [
    "alt",
    "arpa",
    "example",
    "internal",
    "invalid",
    "local",
    "localhost",
    "onion",
    "test",
];

/// Networks of IPv4 that are not public: address and length of the prefix
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>).
const SPECIAL_IPV4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved, and the broadcast address.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Networks within the global unicast addresses of IPv6 that are not public, or that contain an
/// IPv4 address (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const SPECIAL_IPV6: [([u16; 2], u32); 4] = [
    // Protocol assignments, among them Teredo, which contains an IPv4 address.
    ([0x2001, 0], 23),
    // Documentation.
    ([0x2001, 0xdb8], 32),
    // 6to4, which contains an IPv4 address.
    ([0x2002, 0], 16),
    // Documentation.
    ([0x3fff, 0], 20),
];

/// Whether an address is a public unicast address. Addresses of IPv6 that contain one of IPv4 are
/// not.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_IPV4.iter().any(|(network, length)| {
            let mask = u32::MAX << (32 - length);
            address.to_bits() & mask == Ipv4Addr::from(*network).to_bits()
        }),
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            let is_unicast = first & 0xe000 == 0x2000;
            is_unicast && !is_special_ipv6(first, second)
        }
    }
}

/// Whether an address of IPv6 that starts with these two segments is in a special network.
fn is_special_ipv6(first: u16, second: u16) -> bool {
    let prefix = u32::from(first) << 16 | u32::from(second);
    SPECIAL_IPV6.iter().any(|([first, second], length)| {
        let network = u32::from(*first) << 16 | u32::from(*second);
        prefix & (u32::MAX << (32 - length)) == network
    })
}

/// Whether a host may be the host of a `did:web`: a domain name in the public name space, without a
/// port (<https://atproto.com/specs/did#blessed-did-methods>). An IP address is not a domain name,
/// because its last label starts with a digit.
pub(super) fn is_public_name(host: &str) -> bool {
    let top = host.rsplit('.').next().unwrap_or_default();
    is_handle(host)
        && !RESERVED_DOMAINS
            .iter()
            .any(|domain| top.eq_ignore_ascii_case(domain))
}

/// Resolves host names, and returns only their public addresses.
#[derive(Clone, Debug)]
pub(super) struct PublicAddresses<L>(pub(super) L);

/// A lookup of host names.
pub(super) trait HostLookup: Clone + Send + Sync + 'static {
    /// All addresses of a host.
    fn lookup(&self, host: &str) -> impl Future<Output = std::io::Result<Vec<SocketAddr>>> + Send;
}

/// The lookup of this machine.
#[derive(Clone, Debug)]
pub(super) struct SystemLookup;

impl HostLookup for SystemLookup {
    async fn lookup(&self, host: &str) -> std::io::Result<Vec<SocketAddr>> {
        // The port is replaced by that of the URL.
        let addresses = tokio::net::lookup_host((absolute(host), 0)).await?;
        Ok(addresses.collect())
    }
}

/// The name with a dot at its end. Without it, the resolver of the system may append the search
/// domains of this machine, and find a host of its network.
fn absolute(host: &str) -> String {
    format!("{}.", host.trim_end_matches('.'))
}

impl<L: HostLookup> Resolve for PublicAddresses<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let mut addresses = lookup.lookup(host).await?;
            addresses.retain(|address| is_public(address.ip()));
            if addresses.is_empty() {
                let why = format!("the host {host:?} has no public address");
                return Err(Box::<dyn Error + Send + Sync>::from(why));
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_looked_up_without_the_search_domains_of_the_machine() {
        assert_eq!(absolute("bea.com"), "bea.com.");
        assert_eq!(absolute("bea.com."), "bea.com.");
    }

    #[test]
    fn only_public_unicast_addresses_are_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00:1450:4001:81b::200e",
        ];
        for text in public {
            assert!(is_public(text.parse().expect(text)), "{text}");
        }
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff:fff::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for text in special {
            assert!(!is_public(text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn only_domain_names_in_the_public_name_space_are_hosts() {
        for host in ["bea.com", "a.b.c.dev", "XN--80AK6AA92E.com"] {
            assert!(is_public_name(host), "{host}");
        }
        let refused = [
            "localhost",
            "a.localhost",
            "db.internal",
            "printer.local",
            "x.onion",
            "1.0.0.127.in-addr.arpa",
            "a.TEST",
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0x7f.0.0.0x1",
            "[::1]",
            "bea.com:8080",
            "bea.com%3A8080",
            "bea.com/path",
            "bea.com:path",
            "user@bea.com",
            "bea.com.",
            "b\u{e9}a.com",
            "bea.com#",
            "",
        ];
        for host in refused {
            assert!(!is_public_name(host), "{host}");
        }
    }
}
