//! The size of the live records: running sums that each change of an account updates.

use super::content::Content;
use super::repo::Repo;
use super::table::LiveRecord;
use crate::fact::Fact;
use crate::sizes::{HeapSize, Size, vec_bytes};

/// The sums over all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordSizes {
    /// The parts of accounts whose size is known at any time.
    pub repos: RepoSize,
    /// What records point to: contents that take more than 16 bytes, and keys that are not TIDs.
    pub contents: Size,
    /// What the keys of gone posts point to, in bytes.
    pub gone_keys: usize,
}

/// The size of one account, without what records and keys point to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RepoSize {
    /// Bytes of its identity, its status, and the rows that count it.
    pub account: usize,
    /// Its records, and the bytes of their table and its index.
    pub table: Size,
    /// Those of its records that were removed.
    pub removed: usize,
    /// The keys of its gone posts.
    pub gone_posts: Size,
}

impl RecordSizes {
    /// Replaces the size that an account had before a change.
    pub fn replace(&mut self, before: RepoSize, after: RepoSize) {
        let repos = &mut self.repos;
        repos.account = (repos.account + after.account).saturating_sub(before.account);
        repos.table.replace(before.table, after.table);
        repos.removed = (repos.removed + after.removed).saturating_sub(before.removed);
        repos
            .gone_posts
            .replace(before.gone_posts, after.gone_posts);
    }

    /// Adds what a new record points to.
    pub fn add_record(&mut self, record: &LiveRecord) {
        self.contents.add(pointed(record.heap_bytes()));
    }

    /// Subtracts what a removed record pointed to.
    pub fn remove_record(&mut self, record: &LiveRecord) {
        let before = pointed(record.heap_bytes());
        self.contents.replace(before, Size::default());
    }

    /// Replaces the content of a record. Returns the previous one.
    pub fn replace_content(&mut self, record: &mut LiveRecord, content: Content) -> Content {
        let before = pointed(record.heap_bytes());
        let old = std::mem::replace(&mut record.content, content);
        let after = pointed(record.heap_bytes());
        self.contents.replace(before, after);
        old
    }

    /// Adds what the key of a new gone post points to, in bytes.
    pub fn add_gone_key(&mut self, bytes: usize) {
        self.gone_keys += bytes;
    }

    /// Subtracts what the key of a removed gone post pointed to, in bytes.
    pub fn remove_gone_key(&mut self, bytes: usize) {
        self.gone_keys = self.gone_keys.saturating_sub(bytes);
    }
}

/// A record counts as an entry if it points to anything.
pub(super) fn pointed(bytes: usize) -> Size {
    Size {
        entries: usize::from(bytes > 0),
        bytes,
    }
}

impl Repo {
    /// The size of the account now. The time is constant.
    pub fn size(&self) -> RepoSize {
        let identity = self.identity.as_deref();
        let identity = identity.map_or(0, |it| size_of_val(it) + it.handle.heap_bytes());
        let status = self.status.as_deref();
        let status = status.map_or(0, |it| size_of_val(it) + it.text.heap_bytes());
        let gone_posts = self.gone_posts.as_deref().map(|posts| Size {
            entries: posts.len(),
            bytes: size_of_val(posts) + posts.allocation_size(),
        });
        RepoSize {
            account: identity + status + vec_bytes(&self.collections),
            table: self.records.size(),
            removed: self.records.removed(),
            gone_posts: gone_posts.unwrap_or_default(),
        }
    }
}

impl HeapSize for LiveRecord {
    fn heap_bytes(&self) -> usize {
        self.rkey.heap_bytes() + self.content.heap_bytes()
    }
}

impl HeapSize for Content {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Nothing
            | Self::Removed
            | Self::Like { .. }
            | Self::Repost { .. }
            | Self::Follow(_)
            | Self::Block(_) => 0,
            Self::Post(post) => post.heap_bytes(),
            Self::Other(fact) => {
                let shared = match &**fact {
                    Fact::Profile(profile) => profile.heap_bytes(),
                    fact => fact.heap_bytes(),
                };
                size_of::<Fact>() + shared
            }
        }
    }
}
