//! Which keys are counted.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashSet;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{
    ActivityKey, HandleKey, InteractionKey, Key, ListEntry, ListKey, RowError, RowKind, TrendKey,
    ViewId,
};

/// The keys that are counted. Items of top lists are selected under the view of the list.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All keys.
    All,
    /// The keys of one of several parts of about the same size.
    Part {
        /// The number of the part, from 0.
        part: u64,
        /// The number of parts.
        of: u64,
    },
    /// The keys with these hashes. A key that has the hash of another one by chance is counted, too.
    Keys(HashSet<u64>),
}

impl Selection {
    /// Whether the key is counted. Keys have the same form as in [`hash_of_row`](Self::hash_of_row).
    pub(super) fn has<K: Hash>(&self, view: ViewId, key: &K) -> bool {
        match self {
            Self::All => true,
            Self::Part { .. } | Self::Keys(_) => self.has_hash(hash_of(view, key)),
        }
    }

    /// Whether keys with this hash are counted.
    pub fn has_hash(&self, hash: u64) -> bool {
        match self {
            Self::All => true,
            Self::Part { part, of } => hash % of == *part,
            Self::Keys(hashes) => hashes.contains(&hash),
        }
    }

    /// The hash of the key of a row that is not a list.
    ///
    /// # Errors
    /// The bytes are not a key of this view.
    pub fn hash_of_row(view: ViewId, key: &Key) -> Result<u64, RowError> {
        Ok(match view.row_kind() {
            RowKind::Post => hash_of(view, &key.decode::<PostKey>()?),
            RowKind::Trend => {
                let key: TrendKey = key.decode()?;
                hash_of(view, &(&*key.key, &*key.lang))
            }
            RowKind::Interaction => {
                let key: InteractionKey = key.decode()?;
                hash_of(view, &(&key.author, key.day, &key.subject))
            }
            RowKind::Actor | RowKind::Account => hash_of(view, &key.decode::<Did>()?),
            RowKind::Handle => {
                let key: HandleKey = key.decode()?;
                hash_of(view, &(&*key.handle, &key.did))
            }
            RowKind::Activity => hash_of(view, &key.decode::<ActivityKey>()?),
            RowKind::Counter => hash_of(view, &key.decode::<String>()?),
            RowKind::List | RowKind::Coverage => hash_of(view, key),
        })
    }

    /// The hashes of a row's key as an item of top lists.
    pub fn hashes_as_item(view: ViewId, key: &Key) -> Vec<u64> {
        let lists: &[ViewId] = match view {
            ViewId::Posts => &[ViewId::TopPosts],
            ViewId::Hashtags => &[ViewId::TopHashtags],
            ViewId::Domains => &[ViewId::TopDomains],
            ViewId::Links => &[ViewId::TopLinks],
            ViewId::Mentions => &[ViewId::TopMentions],
            ViewId::Actors => &[
                ViewId::TopActors,
                ViewId::TopBlocks,
                ViewId::TopInteractions,
            ],
            _ => &[],
        };
        let hash = |list: &ViewId| match view.row_kind() {
            RowKind::Post => Some(hash_of(*list, &key.decode::<PostKey>().ok()?)),
            RowKind::Trend => {
                let key: TrendKey = key.decode().ok()?;
                Some(hash_of(*list, &(&*key.key, &*key.lang)))
            }
            _ => Some(hash_of(*list, &key.decode::<Did>().ok()?)),
        };
        lists.iter().filter_map(hash).collect()
    }

    /// The hash of an item of a top list; `None` if the entry does not name an item of this view.
    pub fn hash_of_item(view: ViewId, list: &ListKey, entry: &ListEntry) -> Option<u64> {
        Some(match view {
            ViewId::TopPosts => hash_of(view, &entry.key.parse::<PostKey>().ok()?),
            ViewId::TopHashtags | ViewId::TopDomains | ViewId::TopLinks | ViewId::TopMentions => {
                hash_of(view, &(&*entry.key, &*list.lang))
            }
            _ => hash_of(view, &entry.key.parse::<Did>().ok()?),
        })
    }
}

fn hash_of<K: Hash>(view: ViewId, key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    (view as u8).hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}
