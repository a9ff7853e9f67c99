//! Which client sent a request: the peer of the connection, or the address that trusted proxies
//! report in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;

use crate::connection_state::ClientAddress;

/// The header in which proxies report the addresses of their peers.
pub(crate) const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client of a request that came through `trusted_hops` proxies.
///
/// Each proxy appends the address of its own peer to `X-Forwarded-For`, so the entry that is
/// `trusted_hops` from the right was written by the outermost trusted proxy. All entries to the
/// left of it are what the client claims. If there are fewer entries, or that entry is not an
/// address, the request did not come through the proxies as configured. Then the client is the
/// peer: its address cannot be forged, and the worst case is that clients share a limit.
pub(crate) fn client_of(
    headers: &HeaderMap,
    peer: Option<ClientAddress>,
    trusted_hops: usize,
) -> ClientAddress {
    // A request without a peer did not come through a socket.
    let peer = peer.unwrap_or(ClientAddress::of(Ipv4Addr::UNSPECIFIED.into()));
    let Some(index) = trusted_hops.checked_sub(1) else {
        return peer;
    };
    // Several lines of a header are one list
    // (<https://www.rfc-editor.org/rfc/rfc9110#name-combined-field-value>).
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let entry = entries.into_iter().nth(index);
    entry.and_then(address).map_or(peer, ClientAddress::of)
}

/// Parses an address, with or without a port; an IPv6 address may be in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientAddress {
        ClientAddress::of(text.parse().expect("an address"))
    }

    fn of(lines: &[&str], trusted_hops: usize) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = axum::http::HeaderValue::from_str(line).expect("a value");
            headers.append(FORWARDED_FOR, value);
        }
        client_of(&headers, Some(client("10.0.0.9")), trusted_hops)
    }

    #[test]
    fn the_client_is_the_entry_that_the_outermost_trusted_proxy_wrote() {
        let cases: [(&[&str], usize, &str); 10] = [
            (&["1.1.1.1, 2.2.2.2"], 0, "10.0.0.9"),
            (&["1.1.1.1, 2.2.2.2"], 1, "2.2.2.2"),
            (&["6.6.6.6, 1.1.1.1 , 2.2.2.2"], 2, "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1,2.2.2.2"], 2, "1.1.1.1"),
            (&["6.6.6.6,1.1.1.1", "2.2.2.2"], 2, "1.1.1.1"),
            (&["1.1.1.1:4711"], 1, "1.1.1.1"),
            (&["[2001:db8::1]:4711"], 1, "2001:db8::1"),
            (&["[2001:db8::1]"], 1, "2001:db8::1"),
            (&["2001:db8::1"], 1, "2001:db8::1"),
            (&["::ffff:1.1.1.1"], 1, "1.1.1.1"),
        ];
        for (lines, hops, expected) in cases {
            assert_eq!(of(lines, hops), client(expected), "{lines:?} {hops}");
        }
    }

    #[test]
    fn the_client_is_the_peer_if_the_header_is_not_what_the_proxies_would_send() {
        let cases: [(&[&str], usize); 7] = [
            (&[], 1),
            (&[""], 1),
            (&["1.1.1.1"], 2),
            (&["1.1.1.1, unknown"], 1),
            (&["1.1.1.1,"], 1),
            (&["1.1.1.1, 2.2.2.256"], 1),
            (&["1.1.1.1, 2.2.2.2:x"], 1),
        ];
        for (lines, hops) in cases {
            assert_eq!(of(lines, hops), client("10.0.0.9"), "{lines:?} {hops}");
        }
    }
}
