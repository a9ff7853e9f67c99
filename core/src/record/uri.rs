//! References from one record to another.

use crate::id::{Collection, Did, PostKey, is_nsid, is_rkey};

/// The URI of a record as another record contains it: `at://did/collection/rkey`. All three parts
/// are valid. The DID is parsed into an owned value; collection and record key borrow from the
/// text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UriRef<'a> {
    did: Did,
    collection: &'a str,
    rkey: &'a str,
}

impl<'a> UriRef<'a> {
    /// Parses a URI. Returns `None` if it is not valid, or if its authority is a handle instead of
    /// a DID.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (did, path) = text.strip_prefix("at://")?.split_once('/')?;
        let (collection, rkey) = path.split_once('/')?;
        let valid = (collection == Collection::POST || is_nsid(collection)) && is_rkey(rkey);
        if !valid {
            return None;
        }
        Some(Self {
            did: did.parse().ok()?,
            collection,
            rkey,
        })
    }

    /// The account that owns the record.
    pub fn did(&self) -> Did {
        self.did.clone()
    }

    /// The collection of the record.
    pub fn collection(&self) -> &'a str {
        self.collection
    }

    /// The record key.
    pub fn rkey(&self) -> &'a str {
        self.rkey
    }

    /// The key of the post; `None` if the record is not a post.
    pub fn post_key(&self) -> Option<PostKey> {
        let rkey = (self.collection == Collection::POST).then(|| self.rkey.parse())?;
        Some(PostKey::new(&self.did, &rkey.ok()?))
    }
}
