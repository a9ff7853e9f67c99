//! Handles: domain names that identify accounts to users (<https://atproto.com/specs/handle>).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, is_handle};

/// A handle in lower case, at most 253 bytes of ASCII.
///
/// Only the syntax is checked. Names that the specification reserves by policy (`.local`,
/// `.example`, `.onion`, ...) are syntactically valid. They can never be verified, but this type
/// does not claim that a handle is verified. The only exception is [`Handle::INVALID`], by which
/// the protocol says that an account has no valid handle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(Box<str>);

impl Handle {
    /// The placeholder for a handle that could not be verified. It identifies no account.
    pub const INVALID: &'static str = "handle.invalid";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is [`Handle::INVALID`], in any ASCII case.
    pub fn is_invalid(text: &str) -> bool {
        text.eq_ignore_ascii_case(Self::INVALID)
    }
}

/// Accepts any ASCII case. Case mappings beyond ASCII do not apply, so U+212A (the Kelvin sign)
/// does not equal `k`.
impl FromStr for Handle {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if !is_handle(text) || Self::is_invalid(text) {
            return Err(IdError::new("a handle", text));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl From<Handle> for Box<str> {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_lower_case_by_ascii_rules_only() {
        let handle: Handle = "Alice.Example.COM".parse().unwrap();
        assert_eq!(handle.as_str(), "alice.example.com");
        let longest = format!("{}.com", vec!["a".repeat(62); 4].join("."))[6..].to_owned();
        assert_eq!(longest.len(), 249);
        assert!(format!("aaa.{longest}").parse::<Handle>().is_ok());
        for text in [
            "\u{212a}ate.example.com",
            "k\u{e4}se.example.com",
            "",
            "nodot",
            "handle.invalid",
            "Handle.INVALID",
            "-bad.example.com",
            &format!("aaaa.{longest}"),
            &format!("x.{}.com", "y".repeat(64)),
        ] {
            assert!(text.parse::<Handle>().is_err(), "{text:?}");
        }
    }
}
