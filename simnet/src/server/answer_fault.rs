//! The names of hostile answers. `answers` makes them.

use std::fmt;
use std::str::FromStr;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// How every answer with a profile, a handle or a document is spoiled.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AnswerFault {
            $($(#[$doc])* $name,)*
        }

        impl AnswerFault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in flags.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// A redirect to another path of the server.
    Redirect = "redirect",
    /// A redirect to a private address.
    PrivateRedirect = "private-redirect",
    /// The DID of an account whose document is at a private address.
    PrivateDid = "private-did",
    /// The DID of an account that nobody asked for.
    OtherDid = "other-did",
    /// Names of a megabyte.
    LongNames = "long-names",
    /// The accounts in reverse order.
    Reordered = "reordered",
    /// A page in place of JSON.
    Html = "html",
    /// JSON that is labelled as text.
    TextType = "text-type",
    /// A body without an end.
    Endless = "endless",
    /// A body of four bytes a second, without an end.
    Slow = "slow",
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no fault of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not one of {}", names())]
pub struct UnknownFault {
    name: String,
}

fn names() -> String {
    let names: Vec<_> = AnswerFault::ALL.iter().map(|it| it.as_str()).collect();
    names.join(", ")
}

impl FromStr for AnswerFault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.iter().find(|it| it.as_str() == text);
        let name = text.to_owned();
        found.copied().ok_or(UnknownFault { name })
    }
}
