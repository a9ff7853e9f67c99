//! Accounts, records and posts, stored compactly: a record takes 16 bytes, and its content follows
//! from them.

use skytide_core::id::{Rkey, Tid};

use crate::identity::Identity;
use crate::malformed::Kind;
use crate::mst::Tree;
use crate::words::LanguageId;

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) identity: Identity,
    pub(crate) lang: LanguageId,
    pub(crate) status: Status,
    /// How often the handle has changed.
    pub(crate) handle: u16,
    /// The microsecond of its newest TID. The next TID is later.
    pub(crate) clock: u64,
    /// The newest revision.
    pub(crate) rev: Tid,
    /// Whether the stream has sent a revision of this account.
    pub(crate) announced: bool,
    /// Live records, ordered by the TIDs of their keys.
    pub(crate) records: Vec<CompactRecord>,
    /// The tree, cached since the account was rendered. Dropped when a skipped frame changes the
    /// repo.
    pub(crate) tree: Option<Tree>,
}

/// Hosting status (<https://atproto.com/specs/account>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Deactivated,
    TakenDown,
    Suspended,
    Deleted,
}

impl Status {
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Deactivated => Some("deactivated"),
            Self::TakenDown => Some("takendown"),
            Self::Suspended => Some("suspended"),
            Self::Deleted => Some("deleted"),
        }
    }
}

/// A live record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactRecord {
    /// The TID of the key; 0 for a profile.
    pub(crate) tid: Tid,
    /// The post or account that it refers to; for a post, its own index among all posts.
    pub(crate) subject: u32,
    pub(crate) class: RecordClass,
    /// How often the record was edited.
    pub(crate) version: u8,
    /// The version of the post that it refers to.
    pub(crate) subject_version: u8,
    /// The fault of its bytes ([`Kind::code`]), or [`NOT_STREAMED`].
    pub(crate) fault: u8,
}

/// The value of `CompactRecord::fault` for a record that the stream has not sent.
pub(crate) const NOT_STREAMED: u8 = u8::MAX;

const _: () = assert!(
    size_of::<CompactRecord>() == 16,
    "there is one for each live record"
);

impl CompactRecord {
    pub(crate) fn fault(self) -> Option<Kind> {
        Kind::of_code(self.fault)
    }

    pub(crate) fn is_streamed(self) -> bool {
        self.fault != NOT_STREAMED
    }

    /// Its key.
    pub(crate) fn rkey(self) -> Rkey {
        match self.class {
            RecordClass::Profile => "self".parse().expect("a valid record key"),
            RecordClass::Bookmark => format!("{}~mark", self.tid)
                .parse()
                .expect("a valid record key"),
            _ => self.tid.into(),
        }
    }

    /// Its path, which is its key in the tree.
    pub(crate) fn path(self) -> String {
        format!("{}/{}", self.class.collection(), self.rkey())
    }
}

macro_rules! classes {
    ($($name:ident = $collection:literal,)*) => {
        /// The kind of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum RecordClass {
            $($name,)*
        }

        impl RecordClass {
            /// The collection that contains it.
            pub(crate) fn collection(self) -> &'static str {
                match self {
                    $(Self::$name => $collection,)*
                }
            }
        }
    };
}

classes! {
    Like = "app.bsky.feed.like",
    Repost = "app.bsky.feed.repost",
    Post = "app.bsky.feed.post",
    Follow = "app.bsky.graph.follow",
    Block = "app.bsky.graph.block",
    Profile = "app.bsky.actor.profile",
    Threadgate = "app.bsky.feed.threadgate",
    ListItem = "app.bsky.graph.listitem",
    Bookmark = "example.reader.bookmark",
    Play = "example.music.feed.play",
}

/// The index that stands for no post and no account.
pub(crate) const NONE: u32 = u32::MAX;

/// A post that was ever written. It remains after the deletion of its record, because others still
/// refer to it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) tid: Tid,
    pub(crate) author: u32,
    pub(crate) parent: u32,
    pub(crate) root: u32,
    pub(crate) quote: u32,
    /// The story that it belongs to, from 1; 0 for none.
    pub(crate) story: u32,
    pub(crate) lang: LanguageId,
    /// Its newest version.
    pub(crate) version: u8,
    /// The versions of the parent, root and quoted post that it refers to.
    pub(crate) refers: [u8; 3],
    /// Length of the chain of posts whose hashes its own hash depends on.
    pub(crate) depth: u8,
    /// The fault of one of its versions, and the number of that version.
    pub(crate) fault: (u8, u8),
    pub(crate) deleted: bool,
    /// The hash of its newest version, cached since it was rendered.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Account {
    /// The next TID at a moment (microseconds since 1970), later than all before.
    pub(crate) fn next_tid(&mut self, now: u64) -> Tid {
        self.clock = now.max(self.clock + 1);
        Tid(self.clock << 10 | u64::from(self.lang) << 4 | 7)
    }

    /// The position of a record.
    pub(crate) fn find(&self, class: RecordClass, tid: Tid) -> Option<usize> {
        let first = self.records.partition_point(|rec| rec.tid < tid);
        let same = self.records[first..]
            .iter()
            .take_while(|rec| rec.tid == tid);
        let ahead = same.into_iter().position(|rec| rec.class == class)?;
        Some(first + ahead)
    }

    /// Inserts a record at the position of its key, or replaces it.
    pub(crate) fn insert_record(&mut self, rec: CompactRecord) {
        match self.find(rec.class, rec.tid) {
            Some(index) => self.records[index] = rec,
            None => {
                let index = self.records.partition_point(|other| other.tid <= rec.tid);
                self.records.insert(index, rec);
            }
        }
    }

    /// Removes a record.
    pub(crate) fn remove_record(&mut self, class: RecordClass, tid: Tid) {
        if let Some(index) = self.find(class, tid) {
            self.records.remove(index);
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.status == Status::Active
    }
}
