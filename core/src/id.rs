//! Identifiers of the protocol and of Skytide. They are parsed once, where data enters; a value of
//! these types is always valid.
//!
//! The types are compact, because the dataflow holds millions of values. A did:plc takes 15 bytes
//! and a TID takes 8. Other forms are stored as text on the heap. `Ord` is the order of the UTF-8
//! bytes of the texts.

mod cid;
mod did;
mod handle;
mod record;
mod syntax;

pub use cid::Cid;
pub use did::Did;
pub use handle::Handle;
pub use record::{AtUri, Collection, PostKey, Rkey, Tid};
pub use syntax::{is_did, is_handle, is_nsid, is_rkey};

use serde::{Deserialize, Serialize};

/// A text is not a valid identifier of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct IdError {
    /// The expected kind, for example `a DID`.
    pub expected: &'static str,
    /// The text, truncated to 128 bytes.
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
    /// Position of a message in the log. The first message has position 1, and positions never
    /// decrease. Several messages may share one position.
    Seq;
    /// Position in a relay's stream: the `seq` of a frame, in that relay's own numbering.
    Cursor;
    /// Number of an epoch: the events between two ticks of the log. The first epoch is 1. Epochs
    /// are the logical time of the dataflow.
    Epoch;
}
