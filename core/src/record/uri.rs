//! Addresses of records, as records name them.

use crate::id::{Collection, Did, PostKey, is_nsid, is_rkey};

/// The address of a record within another: `at://did/collection/rkey`, valid in all three parts. Collection and record key
/// are borrowed from the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UriRef<'a> {
    did: Did,
    collection: &'a str,
    rkey: &'a str,
}

impl<'a> UriRef<'a> {
    /// Reads an address; `None` if it is not valid or names its account by a handle.
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

    /// Whose record.
    pub fn did(&self) -> Did {
        self.did.clone()
    }

    /// In which collection.
    pub fn collection(&self) -> &'a str {
        self.collection
    }

    /// Under which key.
    pub fn rkey(&self) -> &'a str {
        self.rkey
    }

    /// The post's address, if it is a post.
    pub fn post_key(&self) -> Option<PostKey> {
        let rkey = (self.collection == Collection::POST).then(|| self.rkey.parse())?;
        Some(PostKey::new(&self.did, &rkey.ok()?))
    }
}
