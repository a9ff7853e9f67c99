//! Accounts and what they hold, in as few bytes as will do: a record is 16 bytes from which all of it follows.

use skytide_core::id::{Rkey, Tid};

use crate::bad::Kind;
use crate::identity::Identity;
use crate::mst::Tree;
use crate::words::Lang;

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) identity: Identity,
    pub(crate) lang: Lang,
    pub(crate) status: Status,
    /// How often its handle has changed.
    pub(crate) handle: u16,
    /// The microsecond of its newest TID: the next one is later.
    pub(crate) clock: u64,
    /// The newest revision.
    pub(crate) rev: Tid,
    /// Whether the stream has told a revision.
    pub(crate) told: bool,
    /// Live records in the order of their keys' TIDs.
    pub(crate) records: Vec<Rec>,
    /// The tree, once the account was rendered; forgotten when frames are skipped.
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
pub(crate) struct Rec {
    /// The time of the key; of a profile 0.
    pub(crate) tid: Tid,
    /// The post or account that it is about; of a post, its own place among all posts.
    pub(crate) subject: u32,
    pub(crate) class: Class,
    /// How often it was edited.
    pub(crate) version: u8,
    /// The version of the post that it is about.
    pub(crate) subject_version: u8,
    /// What is wrong with its bytes ([`Kind::code`]), or [`UNTOLD`].
    pub(crate) fault: u8,
}

/// In place of a fault: the stream never told of this record.
pub(crate) const UNTOLD: u8 = u8::MAX;

const _: () = assert!(size_of::<Rec>() == 16, "there is one for each live record");

impl Rec {
    pub(crate) fn fault(self) -> Option<Kind> {
        Kind::of_code(self.fault)
    }

    pub(crate) fn is_told(self) -> bool {
        self.fault != UNTOLD
    }

    /// Its key.
    pub(crate) fn rkey(self) -> Rkey {
        match self.class {
            Class::Profile => "self".parse().expect("it is a key"),
            Class::Bookmark => format!("{}~mark", self.tid).parse().expect("it is a key"),
            _ => self.tid.into(),
        }
    }

    /// Its key in the tree.
    pub(crate) fn path(self) -> String {
        format!("{}/{}", self.class.collection(), self.rkey())
    }
}

macro_rules! classes {
    ($($name:ident = $collection:literal,)*) => {
        /// What a record is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Class {
            $($name,)*
        }

        impl Class {
            /// The collection in which it stands.
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

/// In place of a post or account: none.
pub(crate) const NONE: u32 = u32::MAX;

/// A post that was ever written. It stays when its record is deleted, as others go on to refer to it.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) tid: Tid,
    pub(crate) author: u32,
    pub(crate) parent: u32,
    pub(crate) root: u32,
    pub(crate) quote: u32,
    /// The story that it is about, from 1; 0: none.
    pub(crate) story: u32,
    pub(crate) lang: Lang,
    /// Its newest version.
    pub(crate) version: u8,
    /// Versions of parent, root and quoted post that it refers to.
    pub(crate) refers: [u8; 3],
    /// How many posts must be known to know this one.
    pub(crate) depth: u8,
    /// What is wrong with the bytes of one of its versions, and with which.
    pub(crate) fault: (u8, u8),
    pub(crate) gone: bool,
    /// The hash of its newest version, once it was rendered.
    pub(crate) digest: Option<[u8; 32]>,
}

impl Account {
    /// The next TID at a moment (microseconds since 1970), later than all before.
    pub(crate) fn tid(&mut self, now: u64) -> Tid {
        self.clock = now.max(self.clock + 1);
        Tid(self.clock << 10 | u64::from(self.lang) << 4 | 7)
    }

    /// The place of a record.
    pub(crate) fn find(&self, class: Class, tid: Tid) -> Option<usize> {
        let first = self.records.partition_point(|rec| rec.tid < tid);
        let same = self.records[first..]
            .iter()
            .take_while(|rec| rec.tid == tid);
        let ahead = same.into_iter().position(|rec| rec.class == class)?;
        Some(first + ahead)
    }

    /// Puts a record where its key belongs.
    pub(crate) fn put(&mut self, rec: Rec) {
        match self.find(rec.class, rec.tid) {
            Some(place) => self.records[place] = rec,
            None => {
                let place = self.records.partition_point(|other| other.tid <= rec.tid);
                self.records.insert(place, rec);
            }
        }
    }

    /// Takes a record away.
    pub(crate) fn take(&mut self, class: Class, tid: Tid) {
        if let Some(place) = self.find(class, tid) {
            self.records.remove(place);
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.status == Status::Active
    }
}
