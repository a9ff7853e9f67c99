//! The size of the live records: running sums that each change of an account updates.

use skytide_core::id::Rkey;

use super::content::Content;
use super::repo::Repo;
use super::state::LiveRecords;
use super::table::LiveRecord;
use crate::fact::Fact;
use crate::sizes::{COLLECTIONS, HeapSize, Size, Sizes, StateSizes, vec_bytes};

/// The sums over all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordSizes {
    /// The parts of accounts whose size is known at any time.
    repos: RepoSize,
    /// What records point to: contents that take more than 16 bytes, and keys that are not TIDs.
    contents: Size,
    /// What the keys of gone posts point to, in bytes.
    gone_keys: usize,
}

/// The size of one account, without what records and keys point to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RepoSize {
    /// Bytes of its identity, its status, and the rows that count it.
    account: usize,
    /// Its records, and the bytes of their table and its index.
    table: Size,
    /// The keys of its gone posts.
    gone_posts: Size,
}

impl RecordSizes {
    /// Replaces the size that an account had before a change.
    pub fn replace(&mut self, before: RepoSize, after: RepoSize) {
        let repos = &mut self.repos;
        repos.account = repos.account + after.account - before.account;
        repos.table.replace(before.table, after.table);
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

    /// Replaces what the content of the record with this key pointed to, in bytes.
    pub fn replace_content(&mut self, key: &Rkey, before: usize, after: usize) {
        let key = key.heap_bytes();
        self.contents
            .replace(pointed(key + before), pointed(key + after));
    }

    /// Adds what the key of a new gone post points to, in bytes.
    pub fn add_gone_key(&mut self, bytes: usize) {
        self.gone_keys += bytes;
    }

    /// Subtracts what the key of a removed gone post pointed to, in bytes.
    pub fn remove_gone_key(&mut self, bytes: usize) {
        self.gone_keys -= bytes;
    }
}

/// A record counts as an entry if it points to anything.
fn pointed(bytes: usize) -> Size {
    Size {
        entries: usize::from(bytes > 0),
        bytes,
    }
}

impl Repo {
    /// The size of the account now. The time is constant.
    pub fn size(&self) -> RepoSize {
        let identity = self.identity.as_deref();
        let identity = identity.map_or(0, |it| size_of_val(it) + it.0.heap_bytes());
        let status = self.status.as_deref();
        let status = status.map_or(0, |it| size_of_val(it) + it.1.heap_bytes());
        let gone_posts = self.gone_posts.as_deref().map(|posts| Size {
            entries: posts.len(),
            bytes: size_of_val(posts) + posts.allocation_size(),
        });
        RepoSize {
            account: identity + status + vec_bytes(&self.collections),
            table: self.records.size(),
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

impl StateSizes for LiveRecords {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let RecordSizes {
            repos,
            contents,
            gone_keys,
        } = self.sizes;
        let members = self.members.iter();
        let accounts = members.clone().map(Vec::len).sum();
        let numbers: usize = members.map(vec_bytes).sum();
        let accounts = Size {
            entries: accounts,
            bytes: vec_bytes(&self.repos) + accounts * size_of::<Repo>() + numbers + repos.account,
        };
        let mut gone_posts = repos.gone_posts;
        gone_posts.bytes += gone_keys;
        let facts = Size {
            entries: self.facts.len(),
            bytes: vec_bytes(&self.facts),
        };
        for (name, size) in [
            ("live_records.accounts", accounts),
            ("live_records.table", repos.table),
            ("live_records.content", contents),
            ("live_records.gone_posts", gone_posts),
            ("live_records.dids", self.dids.size()),
            ("live_records.collections", self.collections.size()),
            ("live_records.activity", self.activity.size()),
            ("live_records.facts", facts),
        ] {
            sizes.add(name, size, COLLECTIONS);
        }
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::event::{Action, Op};
    use skytide_core::id::{Did, Tid};
    use skytide_core::time::{Minute, Timestamp};

    use super::*;
    use crate::records::{AccountPolicy, SHARDS};

    /// The sums by visiting every account, record and key.
    fn recount(state: &LiveRecords) -> RecordSizes {
        let mut sizes = RecordSizes::default();
        for repo in state.repos.iter().flatten() {
            let handle = |it: &Option<skytide_core::id::Handle>| {
                it.as_ref().map_or(0, |handle| handle.as_str().len())
            };
            let identity = repo.identity.iter();
            let identity: usize = identity.map(|it| size_of_val(&**it) + handle(&it.0)).sum();
            let status = repo.status.iter();
            let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
            let status: usize = status.map(|it| size_of_val(&**it) + text(&it.1)).sum();
            sizes.repos.account += identity + status + repo.collections.capacity() * 4;
            sizes.repos.table.entries += repo.records.iter().count();
            sizes.repos.table.bytes += repo.records.size().bytes;
            for record in repo.records.iter() {
                sizes.contents.add(pointed(record.heap_bytes()));
            }
            for posts in repo.gone_posts.iter() {
                sizes.repos.gone_posts.entries += posts.iter().count();
                sizes.repos.gone_posts.bytes += size_of_val(&**posts) + posts.allocation_size();
                sizes.gone_keys += posts.iter().map(Rkey::heap_bytes).sum::<usize>();
            }
        }
        sizes
    }

    /// A record of a random collection: compact or not, with a text or without.
    fn random_op(next: &mut impl FnMut(u64) -> u64, rev: u64) -> Op {
        let like = b"\xa1\x67subject\xa1\x63uri\x78\x46at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a";
        let post = |tag: &str| [b"\xa1\x64tags\x81\x65", tag.as_bytes()].concat();
        let profile = |name: &str| [b"\xa1\x6bdisplayName\x65", name.as_bytes()].concat();
        let (collection, record) = match next(5) {
            0 => ("app.bsky.feed.like", like.to_vec()),
            1 | 2 => ("app.bsky.feed.post", post("tagit")),
            3 => ("app.bsky.actor.profile", profile("Alice")),
            _ => ("com.example.thing", b"\xa0".to_vec()),
        };
        let key = next(60);
        let rkey = match (collection, next(3)) {
            ("app.bsky.actor.profile", _) => "self".parse().expect("it is a record key"),
            (_, 0) => format!("text{key}").parse().expect("it is a record key"),
            _ => Tid(key).into(),
        };
        let action = match next(5) {
            0 | 1 => Action::Delete,
            2 => Action::Update,
            _ => Action::Create,
        };
        Op {
            rev: Tid(rev),
            since: None,
            action,
            collection: collection.parse().expect("it is an NSID"),
            rkey,
            cid: None,
            record: (action != Action::Delete).then(|| record.into()),
        }
    }

    #[test]
    fn the_sums_equal_a_recount_after_random_operations_deletions_and_restarts() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let new = || LiveRecords::new(AccountPolicy::default(), 0);
        let mut state = new();
        for step in 0..30_000_u64 {
            let account = next(12) * next(3);
            let did: Did = match account % 2 {
                0 => format!("did:web:{account}.example").parse(),
                _ => format!("did:plc:{:2>24}", account).parse(),
            }
            .expect("it is a DID");
            match next(400) {
                0 => state.account(&did, false, Some("deleted".into())),
                1 => state.account(&did, true, Some("with a text".into())),
                2..5 => {
                    let handle = format!("name{}.example", next(1_000));
                    state.identity(&did, Some(&handle), Timestamp(step));
                }
                _ => {
                    let op = random_op(&mut next, step + 1);
                    state.operation(&did, op, Minute(5));
                }
            }
            if step % 50 == 0 {
                state.end_of_time(step as u32 + 1, Timestamp(step));
                state.take_facts(drop);
                assert_eq!(state.sizes, recount(&state), "seed {seed:#x} step {step}");
            }
            if step % 9_000 == 8_999 {
                let sections = (0..SHARDS).filter_map(|shard| state.save(shard, Minute(5)));
                let sections: Vec<_> = sections.collect();
                let gauges = state.gauges();
                state = new();
                for section in &sections {
                    let loaded = state.load(section, None::<&fn(&Did) -> bool>);
                    assert!(loaded.is_ok());
                }
                assert_eq!(state.gauges().records, gauges.records);
                assert_eq!(state.sizes, recount(&state), "seed {seed:#x} step {step}");
            }
        }
        let sizes = recount(&state);
        let filled = [sizes.contents, sizes.repos.table, sizes.repos.gone_posts];
        assert!(filled.iter().all(|size| size.entries > 0 && size.bytes > 0));
        assert!(sizes.gone_keys > 0 && sizes.repos.account > 0);
    }
}
