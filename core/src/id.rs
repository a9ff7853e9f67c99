//! Identifiers of the protocol and of Skytide, parsed once at the edge and valid ever after.
//!
//! Sizes matter here: the dataflow holds millions of them. A did:plc takes 15 bytes and a TID 8, exactly;
//! whatever has another form is kept as text behind one pointer. `Ord` follows the texts' UTF-8 bytes.

mod cid;
mod did;
mod record;
mod syntax;

pub use cid::Cid;
pub use did::Did;
pub use record::{AtUri, Collection, PostKey, Rkey, Tid};
pub use syntax::{is_did, is_handle, is_nsid, is_rkey};

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    /// What was expected, as `a DID`.
    pub expected: &'static str,
    /// The text, cut after 128 bytes.
    pub text: String,
}

impl IdError {
    fn new(expected: &'static str, text: &str) -> Self {
        let end = text.floor_char_boundary(128);
        Self {
            expected,
            text: text[..end].to_owned(),
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counters! {
    /// Position of a message in the log: the first has 1, no gaps.
    Seq;
    /// Position in a relay's stream: its `seq`, in that relay's own numbering.
    Cursor;
    /// The events between two ticks of the log; the first has 1. The time of the dataflow.
    Epoch;
}
