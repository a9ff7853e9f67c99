//! Addresses on which a process listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::ValueError;

/// Host and port on which a process listens: `127.0.0.1:7780`, `[::1]:7780`, `localhost:7780`. A
/// host name is resolved by the listening process, because this crate has no network access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    /// The host name, or the IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 stands for any free port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = trimmed(text);
        let (host, port) = split_host_port(text, "127.0.0.1:7780 or localhost:7780")?;
        let port = port.parse().map_err(|_| {
            ValueError(format!(
                "{port:?} is not a port: it must be a number from 0 to 65535"
            ))
        })?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Trims what editors, shells and secret files add around a value: a byte order mark, spaces and
/// line endings.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|it: char| it.is_whitespace() || it == '\u{feff}')
}

/// Splits `HOST:PORT` into the host, without brackets, and the text after the last `:`.
///
/// # Errors
/// The text does not have the form `HOST:PORT`.
pub(super) fn split_host_port<'a>(
    text: &'a str,
    example: &str,
) -> Result<(&'a str, &'a str), ValueError> {
    let rejected = |why: &str| Err(ValueError(format!("{text:?} {why}, such as {example}")));
    if text.contains("://") {
        return rejected("is a URL; it must be a plain HOST:PORT");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return rejected("has no port; it must be a HOST:PORT");
    };
    let bare = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(bare) if bare.contains(':') => bare,
            _ => return rejected("has no IPv6 address in its brackets; it must be a HOST:PORT"),
        },
        None if host.contains(':') => {
            return rejected("needs brackets around its IPv6 address; it must be a HOST:PORT");
        }
        None => host,
    };
    let is_host_character = |it: char| it.is_ascii_alphanumeric() || ".-_:%".contains(it);
    if bare.is_empty() {
        return rejected("has no host; it must be a HOST:PORT (0.0.0.0 stands for all addresses)");
    }
    if !bare.chars().all(is_host_character) {
        return rejected("has no host name or IP address; it must be a HOST:PORT");
    }
    Ok((bare, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_may_have_a_host_name() {
        let cases = [
            ("127.0.0.1:7780", "127.0.0.1", 7780, true),
            ("0.0.0.0:0", "0.0.0.0", 0, false),
            ("localhost:7780", "localhost", 7780, true),
            ("index-1.lan:80", "index-1.lan", 80, false),
            ("[::1]:7780", "::1", 7780, true),
            ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, true),
            ("[fe80::1%eth0]:7780", "fe80::1%eth0", 7780, false),
        ];
        for (text, host, port, loopback) in cases {
            for spelled in [text.to_owned(), format!("\u{feff} {text}\r\n")] {
                let address: ListenAddress = spelled.parse().expect(text);
                assert_eq!((address.host(), address.port()), (host, port));
                assert_eq!(address.to_string(), text);
                assert_eq!(address.is_loopback(), loopback, "{text}");
            }
        }
    }

    #[test]
    fn malformed_addresses_are_rejected_with_the_reason() {
        let cases = [
            ("localhost", "has no port"),
            ("7780", "has no port"),
            ("", "has no port"),
            (":7780", "has no host"),
            ("localhost:http", "\"http\" is not a port"),
            ("localhost:", "\"\" is not a port"),
            ("localhost:65536", "\"65536\" is not a port"),
            ("localhost:-1", "\"-1\" is not a port"),
            ("::1:7780", "needs brackets"),
            ("[::1:7780", "in its brackets"),
            ("[localhost]:7780", "in its brackets"),
            ("http://localhost:7780", "is a URL"),
            ("local host:7780", "has no host name"),
            ("*:7780", "has no host name"),
        ];
        for (text, why) in cases {
            let error = text.parse::<ListenAddress>().expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
