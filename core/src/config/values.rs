//! Types of values that several options share.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::address::trimmed;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

/// Why the value of an option is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

/// A parser for values of the given type within a range. `--help`, errors and `docs/config.md` show
/// the range.
pub fn between<T>(range: RangeInclusive<T>) -> Between<T> {
    Between { range }
}

/// Parses a value and rejects one outside of its range.
#[derive(Clone, Debug)]
pub struct Between<T> {
    range: RangeInclusive<T>,
}

impl<T> TypedValueParser for Between<T>
where
    T: FromStr<Err: fmt::Display> + fmt::Display + PartialOrd + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        let (min, max) = (self.range.start().clone(), self.range.end().clone());
        StringValueParser::new()
            .try_map(move |text| {
                let value: T = text.parse().map_err(|why| {
                    ValueError(format!("{why}; the allowed range is {min} to {max}"))
                })?;
                if (&min..=&max).contains(&&value) {
                    return Ok(value);
                }
                Err(ValueError(format!("{value} is not in {min} to {max}")))
            })
            .parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let range = format!("{} to {}", self.range.start(), self.range.end());
        Some(Box::new(std::iter::once(PossibleValue::new(range))))
    }
}

/// A number of bytes, for example `64GiB`, `512MiB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let unit = Self::UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((text, 0));
        let bytes: Option<u64> = number.trim_end().parse().ok();
        bytes
            .and_then(|bytes| bytes.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| {
                ValueError(format!(
                    "{text:?} is not a size such as 64GiB, 512MiB or 4096"
                ))
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_multiple =
            |(_, shift): &&(&str, u32)| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match Self::UNITS.iter().find(is_multiple) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A duration, for example `90s`, `10m`, `36h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
}

impl FromStr for Span {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let seconds = Self::UNITS.iter().find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        });
        seconds
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| {
                ValueError(format!(
                    "{text:?} is not a duration such as 90s, 10m, 36h or 30d"
                ))
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let is_multiple = |(_, unit): &&(char, u64)| seconds != 0 && seconds.is_multiple_of(*unit);
        match Self::UNITS.iter().find(is_multiple) {
            Some((unit, size)) => write!(f, "{}{unit}", seconds / size),
            None => write!(f, "{seconds}s"),
        }
    }
}

/// The address of a server, for example `wss://bsky.network`. It may contain a password, which is
/// never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address as it was written, including the password; only the scheme is converted to lower
    /// case.
    pub fn with_secret(&self) -> &str {
        &self.0
    }

    /// The scheme, for example `wss`.
    pub fn scheme(&self) -> &str {
        self.0.split("://").next().unwrap_or_default()
    }

    /// Host and port in lower case, without user and password: `bsky.network`, `127.0.0.1:2583`.
    pub fn host(&self) -> String {
        let (_, host, _) = split(&self.0).unwrap_or_default();
        host.to_ascii_lowercase()
    }

    /// Parses an address with one of the given schemes, in upper or lower case. A byte order mark
    /// and spaces around the address are removed.
    ///
    /// # Errors
    /// The address has another form or another scheme, or its port is not a valid port.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, ValueError> {
        let text = trimmed(text);
        let rejected = |why: &str| {
            let forms: Vec<String> = schemes.iter().map(|it| format!("{it}://HOST")).collect();
            let (shown, forms) = (masked(text), forms.join(" or "));
            Err(ValueError(format!(
                "{shown:?} is not an address of the form {forms}: {why}"
            )))
        };
        let Some((_, hosts, _)) = split(text) else {
            return rejected("it has no scheme");
        };
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            return rejected("it has another scheme");
        }
        if text.contains(|it: char| it.is_whitespace() || it.is_control() || it == '\u{feff}') {
            return rejected("it contains a space or a control character");
        }
        for host in hosts.split(',') {
            let (name, port) = host_and_port(host);
            if name.is_empty() {
                return rejected("it has no host");
            }
            let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
            if !port.is_none_or(is_port) {
                return rejected(
                    "the text after the host's `:` is not a port from 1 to 65535 (in a user name or \
                     a password, percent-encode the characters : / ? # [ ] @ and %)",
                );
            }
        }
        Ok(Self(format!("{scheme}://{rest}")))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", masked(&self.0))
    }
}

/// The address of a server that may be left out: an address, or `never`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOrNever(pub Option<Endpoint>);

impl EndpointOrNever {
    /// Parses `never`, or an address as [`Endpoint::parse`] does.
    ///
    /// # Errors
    /// See [`Endpoint::parse`].
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, ValueError> {
        match trimmed(text) {
            "never" => Ok(Self(None)),
            text => Endpoint::parse(text, schemes).map(|endpoint| Self(Some(endpoint))),
        }
    }
}

impl fmt::Display for EndpointOrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(endpoint) => endpoint.fmt(f),
            None => f.write_str("never"),
        }
    }
}

/// Splits an address into `scheme://user@`, `host:port` and `/path?query`; `None` without a scheme.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let authority = text.find("://")? + 3;
    let end = text[authority..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |it| authority + it);
    let host = text[authority..end]
        .rfind('@')
        .map_or(authority, |it| authority + it + 1);
    Some((&text[..host], &text[host..end], &text[end..]))
}

/// Splits a host from the text after its `:`, if there is one. An IPv6 address is in brackets.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    let end = text.rfind(']').map_or(0, |it| it + 1);
    match text[end..].split_once(':') {
        Some((name, port)) => (&text[..end + name.len()], Some(port)),
        None => (text, None),
    }
}

/// The address with all potential secrets replaced: user and password, and the values of the query.
/// A password may contain any character. Therefore everything before the last `@` is replaced, and
/// the whole text if the extent of the password is ambiguous.
pub fn masked(text: &str) -> String {
    let is_scheme_character = |it: char| it.is_ascii_alphanumeric() || "+-.".contains(it);
    let address = text.split_once("://");
    let Some((scheme, rest)) =
        address.filter(|(scheme, _)| scheme.chars().all(is_scheme_character))
    else {
        return "***".to_owned();
    };
    let (user, rest) = match rest.rsplit_once('@') {
        // The `@` may be part of the query, and the text after it part of a secret.
        Some((user, _)) if user.contains('?') => return format!("{scheme}://***"),
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = path.split(['/', '#']).next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !hosts
        .split(',')
        .all(|host| host_and_port(host).1.is_none_or(is_port))
    {
        // The text after a `:` is not a port. It may be a part of a password, for example if the
        // `@` after it is missing.
        return format!("{scheme}://***");
    }
    let query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| format!("{}=***", pair.split('=').next().unwrap_or_default()))
        .collect();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{user}{path}{separator}{}", query.join("&"))
}
