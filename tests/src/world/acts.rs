//! Generates an account's next frame: a commit or one of the other events.

use skytide_core::event::{Action, Body, Moved, Op};
use skytide_core::id::{Did, Tid};
use skytide_core::time::Timestamp;

use super::{START, World, records};

impl World {
    pub(super) fn commit(&mut self, did: &Did) -> Vec<Body> {
        let known = self.revs.get(did).copied();
        let (rev, since) = match (known, self.random.below(20)) {
            (Some((newest, _)), 0) => (newest, Some(newest)),
            (Some((_, older)), 1) => (older, None),
            (Some((_, older)), 2) => (self.next_rev(did), Some(older)),
            (Some((newest, _)), 3..19) => (self.next_rev(did), Some(newest)),
            _ => (self.next_rev(did), None),
        };
        let ops = 1 + self.random.below(5).saturating_sub(2);
        let mut bodies = Vec::new();
        let mut path = None;
        for _ in 0..ops {
            let same = path.take().filter(|_| self.random.chance(35));
            let (collection, rkey) = same.unwrap_or_else(|| {
                let weights = records::COLLECTIONS.map(|(_, weight)| weight);
                let collection = records::COLLECTIONS[self.random.weighted(&weights)].0;
                (collection, self.cast.rkey(collection, &mut self.random))
            });
            bodies.push(Body::Op(self.op(rev, since, collection, &rkey)));
            path = Some((collection, rkey));
        }
        bodies
    }

    fn op(&mut self, rev: Tid, since: Option<Tid>, collection: &str, rkey: &str) -> Op {
        let action = match self.random.weighted(&[60, 12, 28]) {
            0 => Action::Create,
            1 => Action::Update,
            _ => Action::Delete,
        };
        let written = action != Action::Delete;
        let record = records::record(collection, &self.cast, &mut self.random);
        Op {
            rev,
            since,
            action,
            collection: collection.parse().expect("a collection"),
            rkey: rkey.parse().expect("a record key"),
            cid: written.then(|| records::cid(&mut self.random)),
            record: record.filter(|_| written),
        }
    }

    pub(super) fn identity(&mut self) -> Body {
        let names = [
            "alice.example.com",
            "Alice.example.com",
            "bob.example.com",
            "Handle.invalid",
            "",
            "\u{212a}ate.example.com",
        ];
        let handle = match self.random.below(9) {
            place @ 0..6 => Some(names[place as usize].into()),
            6 => Some(format!("{}.example", "h".repeat(70_000)).into()),
            _ => None,
        };
        let sent = self.sending();
        Body::Identity { handle, sent }
    }

    pub(super) fn account(&mut self) -> Body {
        let statuses = [
            None,
            Some("deactivated"),
            Some("takendown"),
            Some("deleted"),
        ];
        let status = match self.random.below(6) {
            place @ 1..4 => statuses[place as usize],
            _ => None,
        };
        Body::Account {
            active: status.is_none(),
            status: status.map(Into::into),
            sent: self.sending(),
        }
    }

    /// When an account sends its next announcement: mostly now, sometimes by a wrong clock.
    fn sending(&mut self) -> Option<Timestamp> {
        match self.random.below(10) {
            0 => None,
            1 => Some(Timestamp(self.time.0 - self.random.below(100_000))),
            _ => Some(self.time),
        }
    }

    pub(super) fn moved(&mut self, did: &Did) -> Body {
        let rev = match self.revs.get(did) {
            Some((newest, older)) if self.random.chance(50) => {
                *self.random.pick(&[*newest, *older])
            }
            _ => self.next_rev(did),
        };
        let why = *self
            .random
            .pick(&[Moved::Sync, Moved::Empty, Moved::TooBig]);
        Body::Moved { rev, why }
    }

    /// A revision newer than all earlier revisions of this account.
    pub(super) fn next_rev(&mut self, did: &Did) -> Tid {
        let step = 1 + self.random.below(1_000_000);
        let first = Tid((START.0 * 1_000) << 10);
        let newest = self.revs.get(did).map_or(first, |(newest, _)| *newest);
        let next = Tid(newest.0 + step);
        self.revs.insert(did.clone(), (next, newest));
        next
    }
}
