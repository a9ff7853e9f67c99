//! Arguments of `skytide keys`.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use skytide_core::config::{BURST_MIN, Config, Span, ValueError, between};
use skytide_core::port::key::{KeyId, KeyParts, LABEL_BYTES_MAX, Scope};
use skytide_core::time::Timestamp;

/// Keys of the API. They are in `STORE_DIR`, or in the database of `MONGODB_URI`; a running server
/// accepts a new key after about a second, and refuses a revoked one after five at most.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Keys {
    /// What to do with the keys.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a key and print it. It is shown once: only its hash is stored.
    Add(Box<Add>),
    /// List the keys, without their secrets.
    List(Box<List>),
    /// Revoke a key. Every process refuses it within five seconds.
    Revoke(Box<Revoke>),
}

impl Keys {
    /// The options.
    pub fn config(&self) -> &Config {
        match &self.action {
            Action::Add(add) => &add.config,
            Action::List(list) => &list.config,
            Action::Revoke(revoke) => &revoke.config,
        }
    }
}

/// Arguments of `keys add`.
#[derive(Debug, Args)]
pub struct Add {
    /// A text by which you recognize the key in the list, such as the name of its user.
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub label: String,

    /// What the key allows, separated by commas: `read` (the views), `live` (`/v1/stream`), `admin`
    /// (the admin routes).
    #[arg(long, value_name = "SCOPES", default_value = "read,live")]
    #[arg(value_delimiter = ',', value_parser = scope)]
    pub scope: Vec<Scope>,

    /// When the key expires: a time from now such as 90d or 12h, or a date such as 2027-01-31, at
    /// whose start (UTC) it expires. It never expires by default.
    #[arg(long, value_name = "TIME|DATE")]
    pub expires: Option<Expiry>,

    /// Rate limit of this key in units per second, instead of `API_KEY_RATE`; 0: no limit.
    #[arg(long, value_name = "UNITS", value_parser = between(0..=1_000_000_u32))]
    pub rate: Option<u32>,

    /// Units that this key may use at once after a pause. The default is `API_KEY_RATE_BURST`, or
    /// ten times `--rate`.
    #[arg(long, value_name = "UNITS", value_parser = between(BURST_MIN..=1_000_000_u32))]
    pub burst: Option<u32>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub struct List {
    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The id of the key: the part between `sky_` and the second `_`. The whole key works, too.
    #[arg(value_name = "ID", value_parser = id)]
    pub id: KeyId,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After this time.
    After(Span),
    /// At this time.
    At(Timestamp),
}

impl Expiry {
    /// The time at which a key expires that is made now.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(span) => {
                let ms = u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
                Timestamp(now.0.saturating_add(ms))
            }
            Self::At(time) => time,
        }
    }
}

impl FromStr for Expiry {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let date = || Timestamp::parse(&format!("{text}T00:00:00Z"));
        if let Some(time) = Timestamp::parse(text).or_else(date) {
            return Ok(Self::At(time));
        }
        text.parse().map(Self::After).map_err(|_| {
            ValueError(format!(
                "{text:?} is neither a time from now, such as 90d or 12h, nor a date, such as \
                 2027-01-31 or 2027-01-31T12:00:00Z"
            ))
        })
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(span) => span.fmt(f),
            Self::At(time) => f.write_str(&time.rfc3339()),
        }
    }
}

fn scope(text: &str) -> Result<Scope, ValueError> {
    Scope::from_name(text.trim()).ok_or_else(|| {
        let names = Scope::ALL.map(Scope::name).join(", ");
        ValueError(format!(
            "there is no scope {text:?}; the scopes are {names}"
        ))
    })
}

fn label(text: &str) -> Result<String, ValueError> {
    let text = text.trim();
    let rejected = |why: String| Err(ValueError(why));
    if text.is_empty() {
        return rejected("the label is empty".to_owned());
    }
    if text.len() > LABEL_BYTES_MAX {
        return rejected(format!("the label has more than {LABEL_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return rejected("the label contains a control character".to_owned());
    }
    Ok(text.to_owned())
}

fn id(text: &str) -> Result<KeyId, ValueError> {
    let text = text.trim();
    let id = KeyParts::parse(text).map_or(text, |key| key.id);
    id.parse()
        .map_err(|why: skytide_core::port::key::InvalidKeyId| ValueError(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_or_a_date() {
        let now = Timestamp::parse("2026-11-30T10:00:00Z").expect("a time");
        let cases = [
            ("90d", "2027-02-28T10:00:00.000Z"),
            ("12h", "2026-11-30T22:00:00.000Z"),
            ("2027-01-31", "2027-01-31T00:00:00.000Z"),
            ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00.000Z"),
        ];
        for (text, expected) in cases {
            let expiry: Expiry = text.parse().expect(text);
            assert_eq!(expiry.from(now).rfc3339(), expected, "{text}");
        }
        for text in ["", "90", "tomorrow", "2027-02-30", "31.01.2027"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_id_or_by_its_whole_text() {
        let key = skytide_core::port::key::KeyText::new(&KeyId::from_random(77), [1; 32]);
        let expected = KeyId::from_random(77);
        assert_eq!(id(key.reveal()), Ok(expected.clone()));
        assert_eq!(id(&format!(" {expected}\n")), Ok(expected));
        assert!(id("sky_").is_err());
        assert!(label("a\nb").is_err() && label(" ").is_err());
        assert_eq!(label(" a b "), Ok("a b".to_owned()));
    }
}
