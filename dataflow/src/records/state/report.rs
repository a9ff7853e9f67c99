//! Reports the size of the live records.

use super::LiveRecords;
use super::changes::ShardChanges;
use crate::records::repo::Repo;
use crate::records::sizes::RecordSizes;
use crate::records::table::LiveRecord;
use crate::sizes::{COLLECTIONS, Size, Sizes, StateSizes, vec_bytes};

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
        let changes: usize = self.changes.iter().map(ShardChanges::bytes).sum();
        let accounts = Size {
            entries: accounts,
            bytes: vec_bytes(&self.repos)
                + accounts * size_of::<Repo>()
                + numbers
                + changes
                + repos.account,
        };
        let removed = Size {
            entries: repos.removed,
            bytes: repos.removed * size_of::<LiveRecord>(),
        };
        let table = Size {
            entries: repos.table.entries - removed.entries,
            bytes: repos.table.bytes - removed.bytes,
        };
        let mut gone_posts = repos.gone_posts;
        gone_posts.bytes += gone_keys;
        let facts = Size {
            entries: self.facts.len(),
            bytes: vec_bytes(&self.facts),
        };
        for (name, size) in [
            ("live_records.accounts", accounts),
            ("live_records.table", table),
            ("live_records.removed", removed),
            ("live_records.content", contents),
            ("live_records.gone_posts", gone_posts),
            ("live_records.dids", self.dids.size()),
            ("live_records.collections", self.collections.size()),
            ("live_records.activity", self.activity.size()),
            ("live_records.facts", facts),
            ("live_records.runs", self.cold.size()),
        ] {
            sizes.add(name, size, COLLECTIONS);
        }
    }

    fn evict(&mut self, bytes_wanted: u64) -> u64 {
        self.evict_bytes(bytes_wanted)
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::event::{Action, Op};
    use skytide_core::id::{Did, Rkey, Tid};
    use skytide_core::time::{Minute, Timestamp};

    use super::*;
    use crate::records::AccountPolicy;
    use crate::records::announcement::Announced;
    use crate::records::saved::testing::Checkpoints;
    use crate::records::sizes::pointed;
    use crate::sizes::HeapSize;

    /// The sums by visiting every account, record and key.
    fn recount(state: &LiveRecords) -> RecordSizes {
        let mut sizes = RecordSizes::default();
        for repo in state.repos.iter().flatten() {
            let handle = |it: &Option<skytide_core::id::Handle>| {
                it.as_ref().map_or(0, |handle| handle.as_str().len())
            };
            let identity = repo.identity.iter();
            let identity: usize = identity
                .map(|it| size_of_val(&**it) + handle(&it.handle))
                .sum();
            let status = repo.status.iter();
            let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
            let status: usize = status.map(|it| size_of_val(&**it) + text(&it.text)).sum();
            sizes.repos.account += identity + status + repo.collections.capacity() * 4;
            sizes.repos.table.entries += repo.records.all().len();
            let removed = repo.records.all().iter().filter(|it| it.is_removed());
            sizes.repos.removed += removed.count();
            sizes.repos.table.bytes += repo.records.size().bytes;
            for record in repo.records.all() {
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
        let mut checkpoints = Checkpoints::with_hot_records(Some(100));
        for step in 0..30_000_u64 {
            let account = next(12) * next(3);
            let did: Did = match account % 2 {
                0 => format!("did:web:{account}.example").parse(),
                _ => format!("did:plc:{account:2>24}").parse(),
            }
            .expect("it is a DID");
            match next(400) {
                0 => state.account(
                    &did,
                    false,
                    Some("deleted".into()),
                    Announced::at(Timestamp(60_000)),
                ),
                1 => state.account(
                    &did,
                    true,
                    Some("with a text".into()),
                    Announced::at(Timestamp(60_000)),
                ),
                2..5 => {
                    let handle = format!("name{}.example", next(1_000));
                    state.identity(&did, Some(&handle), Announced::at(Timestamp(step)));
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
            if step % 1_000 == 999 {
                // Every other checkpoint fails.
                checkpoints.make(&mut state, step % 2_000 == 999);
                assert_eq!(state.sizes, recount(&state), "seed {seed:#x} step {step}");
            }
            if step % 9_000 == 8_999 {
                checkpoints.make(&mut state, true);
                let gauges = state.gauges();
                state = new();
                checkpoints.load(&mut state, |_| true);
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
