//! The URL of a relay, and the name of its stream in the log.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use super::{ValueError, masked};

/// The URL of a relay, for example `wss://bsky.network`. Two URLs with the same host and port are
/// the same source, however they are written.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    written: String,
    url: Url,
}

impl RelayUrl {
    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self.url.scheme(), "wss" | "https")
    }

    /// Whether the URL contains a user or a password, which this protocol does not use.
    pub fn has_user(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    /// Whether it has a query or a fragment.
    pub fn has_query(&self) -> bool {
        self.url.query().is_some() || self.url.fragment().is_some()
    }

    /// The path; `None` if there is none.
    pub fn path(&self) -> Option<&str> {
        Some(self.url.path()).filter(|path| !matches!(*path, "" | "/"))
    }

    /// The name of the source: the host in lower case, and the port if it is not the default of the
    /// scheme.
    pub fn name(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host(),
        }
    }

    /// Other names that earlier versions gave to the same source.
    pub fn former_names(&self) -> Vec<String> {
        let name = self.name();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let mut names = vec![
            format!("{}:{port}", self.host()),
            format!("{}.", self.host()),
            format!("{}.:{port}", self.host()),
        ];
        names.retain(|former| *former != name);
        names
    }

    /// The host without the trailing dot of a fully qualified name.
    fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host).to_owned()
    }
}

impl FromStr for RelayUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let written = text.trim();
        let rejected = |why: &str| {
            ValueError(format!(
                "{:?} is not a URL of the form wss://HOST or ws://HOST: {why}",
                masked(written)
            ))
        };
        let url = Url::parse(written).map_err(|why| rejected(&why.to_string()))?;
        if !matches!(url.scheme(), "wss" | "ws" | "https" | "http") {
            return Err(rejected(
                "it starts with none of wss://, ws://, https://, http://",
            ));
        }
        if !written
            .split_once(':')
            .is_some_and(|(_, rest)| rest.starts_with("//"))
        {
            return Err(rejected("`//` is missing after the scheme"));
        }
        if written
            .chars()
            .any(|it| it.is_whitespace() || it.is_control())
        {
            return Err(rejected("it contains white space or a control character"));
        }
        match url.host() {
            Some(Host::Domain(domain)) if domain.trim_matches('.').is_empty() => {
                Err(rejected("it has no host"))
            }
            None => Err(rejected("it has no host")),
            Some(_) => Ok(Self {
                written: written.to_owned(),
                url,
            }),
        }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.written))
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RelayUrl, String> {
        text.parse().map_err(|why: ValueError| why.to_string())
    }

    #[test]
    fn one_source_has_one_name_however_its_address_is_written() {
        let same = [
            "wss://relay.example",
            "wss://relay.example:443",
            "WSS://Relay.Example/",
            "wss://relay.example./",
            " https://RELAY.example:443 ",
            "wss://relay.example/xrpc/com.atproto.sync.subscribeRepos",
        ];
        for text in same {
            assert_eq!(parse(text).unwrap().name(), "relay.example", "{text}");
        }
        let others = [
            ("ws://relay.example", "relay.example"),
            ("ws://relay.example:80", "relay.example"),
            ("ws://relay.example:443", "relay.example:443"),
            ("wss://relay.example:8443", "relay.example:8443"),
            ("ws://127.0.0.1:2583", "127.0.0.1:2583"),
            ("ws://[::1]:2583/", "[::1]:2583"),
            ("wss://r\u{e9}lais.example", "xn--rlais-bsa.example"),
        ];
        for (text, name) in others {
            assert_eq!(parse(text).unwrap().name(), name, "{text}");
        }
        let former = parse("wss://relay.example").unwrap().former_names();
        assert!(former.contains(&"relay.example:443".to_owned()));
    }

    #[test]
    fn a_malformed_url_is_rejected_with_the_reason() {
        for (text, why) in [
            ("wss://bsky.network:abc", "invalid port number"),
            ("wss://bsky.network:99999", "invalid port number"),
            ("bsky.network", "relative URL without a base"),
            ("bsky.network:443", "starts with none of"),
            ("ftp://bsky.network", "starts with none of"),
            ("wss://", "empty host"),
            ("wss:bsky.network", "`//` is missing"),
            ("wss://bsky .network", ""),
            ("", "relative URL without a base"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        let secret = parse("ftp://me:secret@host").unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }
}
