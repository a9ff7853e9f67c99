//! Which requests the admin routes refuse before they look at the key: those that a web page of
//! another origin may have caused.
//!
//! A page can point a name of its own at our address (DNS rebinding). Its requests then count as
//! same-origin for the browser, but their `Host` is the page's name. Other cross-origin requests
//! have an `Origin` that is not ours.

use std::net::SocketAddr;

use axum::http::{HeaderMap, Uri, header};

/// The names under which clients reach the API, each with its port, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// The names of `API_ADDRESS` and `API_HOSTS`.
    pub(crate) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Adds the address on which the server listens, and the loopback names with its port.
    pub(crate) fn add_listener(&mut self, address: SocketAddr) {
        let port = address.port();
        let mut names = vec![address.ip().to_string()];
        if address.is_ipv6() {
            names = vec![format!("[{}]", address.ip())];
        }
        names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        for name in names {
            // Clients leave out the default port.
            if port == 80 {
                self.0.push(name.clone());
            }
            self.0.push(format!("{name}:{port}"));
        }
    }

    /// Whether a request was sent to one of our names, and not by a page of another origin.
    pub(crate) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let is_ours = self.0.iter().any(|name| name.eq_ignore_ascii_case(host));
        let same_authority = uri
            .authority()
            .is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(host));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin_is_ours = origins.all(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let name = origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"));
            name.is_some_and(|name| name.eq_ignore_ascii_case(host))
        });
        is_ours && same_authority && origin_is_ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(host: &[&str], origin: Option<&str>) -> bool {
        let mut hosts = Hosts::new(&["Api.example.org".to_owned()]);
        hosts.add_listener("127.0.0.1:7780".parse().expect("an address"));
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, host.parse().expect("a value"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a value"));
        }
        hosts.allow(&Uri::from_static("/v1/admin/keys"), &headers)
    }

    #[test]
    fn only_our_own_names_and_origins_are_allowed() {
        for host in [
            "127.0.0.1:7780",
            "localhost:7780",
            "LOCALHOST:7780",
            "[::1]:7780",
        ] {
            assert!(allows(&[host], None), "{host}");
            assert!(allows(&[host], Some(&format!("http://{host}"))), "{host}");
        }
        assert!(allows(
            &["api.example.org"],
            Some("https://api.example.org")
        ));
        for host in [
            "evil.example",
            "evil.example:7780",
            "localhost",
            "localhost:80",
            "localhost:7780.evil.example",
            "api.example.org:7780",
            "",
        ] {
            assert!(!allows(&[host], None), "{host}");
        }
        assert!(!allows(&[], None));
        assert!(!allows(&["localhost:7780", "localhost:7780"], None));
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:7781",
            "http://127.0.0.1:7780",
            "ftp://localhost:7780",
            "localhost:7780",
        ] {
            assert!(!allows(&["localhost:7780"], Some(origin)), "{origin}");
        }
    }
}
