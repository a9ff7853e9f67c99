//! Which collections `activity` counts under their own name. All others count under `other`.
//!
//! ```text
//! operations, in log order ─ source ─ known, or among the first others? ─ yes ─▶ its own name
//!                               │                                       └ no ──▶ other
//!                               └─ new names ─▶ every worker, before the operations of the epoch
//! ```
//!
//! Anyone can invent collections, and each name costs rows, so the number of names is bounded. The
//! source of the dataflow assigns names, because only the source sees all operations in log order.
//! Known collections, those of the Bluesky app, always have their own name. Of the others, the
//! first ones in the log get one, even if the operation is not applied later. A collection keeps
//! its name forever, and a collection that got none never gets one later. A record thus counts
//! under the same name when it is inserted and when it is retracted. Checkpoints contain the names.

use hashbrown::HashSet;
use skytide_core::event::{Body, Event};
use skytide_core::limits::{KNOWN_COLLECTIONS, NAMED_COLLECTIONS_MAX};

/// The collections that are counted under their own name, without those that always are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(HashSet<Box<str>>);

impl Names {
    /// The names of a checkpoint. An older version did not bound their number: then the
    /// alphabetically first ones are used.
    pub fn of(names: impl Iterator<Item = Box<str>>) -> Self {
        let mut names: Vec<_> = names.filter(|name| !is_known(name)).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(NAMED_COLLECTIONS_MAX);
        Self(names.into_iter().collect())
    }

    /// Whether a collection is counted under its own name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name) || is_known(name)
    }

    /// Assigns a name of its own to each new collection of these events until the maximum is
    /// reached. Returns the new names.
    pub fn assign_new(&mut self, events: &[Event]) -> Vec<Box<str>> {
        let mut new = Vec::new();
        if self.0.len() >= NAMED_COLLECTIONS_MAX {
            return new;
        }
        for event in events {
            let Body::Op(op) = &event.body else { continue };
            let name = op.collection.as_str();
            if self.0.len() < NAMED_COLLECTIONS_MAX && !self.has(name) {
                self.0.insert(name.into());
                new.push(name.into());
            }
        }
        new
    }

    /// All names, in order.
    pub fn to_vec(&self) -> Vec<Box<str>> {
        let mut names: Vec<_> = self.0.iter().cloned().collect();
        names.sort_unstable();
        names
    }
}

/// Whether a collection is always counted under its own name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN_COLLECTIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use skytide_core::event::{Action, Op};
    use skytide_core::id::{Cursor, Did, Tid};
    use skytide_core::time::{Minute, Timestamp};
    use skytide_core::view::Span;

    use super::*;
    use crate::fact::{Activity, Fact};
    use crate::records::announcement::Announced;
    use crate::records::saved::testing::Checkpoints;
    use crate::records::{AccountPolicy, LiveRecords};

    fn did(number: u64) -> Did {
        format!("did:web:{number}.example").parse().unwrap()
    }

    fn collection(number: usize) -> String {
        format!("com.example.n{number}.thing")
    }

    fn op(action: Action, collection: &str, key: u64) -> Op {
        Op {
            rev: Tid(1),
            since: None,
            action,
            collection: collection.parse().unwrap(),
            rkey: Tid(key).into(),
            cid: None,
            record: Some([0xa0].into()),
        }
    }

    fn event(did: &Did, op: Op) -> Event {
        Event {
            host: Arc::from("relay.example"),
            seq: Cursor(1),
            index: 0,
            time: Timestamp(1),
            did: did.clone(),
            body: Body::Op(op),
        }
    }

    /// Ends a time. Returns its counts in periods of this span, by activity row.
    fn counts(state: &mut LiveRecords, span: Span) -> BTreeMap<Box<str>, Activity> {
        state.end_of_time(9, Minute(5).start());
        let mut counts = BTreeMap::<Box<str>, Activity>::new();
        state.take_facts(|(fact, _)| {
            if let Fact::Activity(key, activity) = fact
                && key.span == span
            {
                counts.entry(key.collection).or_default().add(&activity);
            }
        });
        counts.retain(|_, activity| *activity != Activity::default());
        counts
    }

    #[test]
    fn only_the_first_collections_get_names() {
        let mut names = Names::default();
        let like = op(Action::Create, "app.bsky.feed.like", 1);
        let events: Vec<Event> = (0..NAMED_COLLECTIONS_MAX + 10)
            .map(|n| op(Action::Create, &collection(n), 1))
            .chain([like])
            .map(|op| event(&did(1), op))
            .collect();
        let new = names.assign_new(&events[5..]);
        assert_eq!(
            (new.len(), &*new[0]),
            (NAMED_COLLECTIONS_MAX, "com.example.n5.thing")
        );
        assert_eq!(names.assign_new(&events), Vec::<Box<str>>::new());
        assert!(names.has("app.bsky.feed.like") && !names.has(&collection(4)));
        // A checkpoint contains the names as a list.
        let restored = Names::of(names.to_vec().into_iter());
        assert_eq!(restored.to_vec(), names.to_vec());
    }

    #[test]
    fn records_counted_under_other_are_retracted_under_other_and_leave_no_state() {
        let mut state = LiveRecords::new(AccountPolicy::default(), 0);
        let named: Box<str> = collection(0).into();
        state.assign_names(std::slice::from_ref(&named));
        let before = state.collections().len();
        let all = 1..=1_000;
        for n in all.clone() {
            state.operation(
                &did(n % 7),
                op(Action::Create, &collection(n as usize), n),
                Minute(5),
            );
        }
        state.operation(&did(1), op(Action::Create, &named, 1), Minute(5));
        let row = |creates, deletes, accounts, live| Activity {
            creates,
            deletes,
            accounts,
            live,
            bytes: creates + deletes,
            ..Activity::default()
        };
        let expected = [
            ("", row(1_001, 0, 7, 1_001)),
            (&*named, row(1, 0, 1, 1)),
            ("other", row(1_000, 0, 7, 1_000)),
        ];
        let expected = expected.map(|(name, row)| (name.into(), row));
        assert_eq!(counts(&mut state, Span::All), expected.into());
        assert_eq!(state.names(), std::slice::from_ref(&named));

        // The account is hidden and shown again. Then records are deleted by key, and with the
        // account.
        state.account(&did(1), false, None, Announced::at(Timestamp(60_000)));
        state.account(&did(1), true, None, Announced::at(Timestamp(60_000)));
        for n in all.filter(|n| n % 7 != 2) {
            state.operation(
                &did(n % 7),
                op(Action::Delete, &collection(n as usize), n),
                Minute(5),
            );
        }
        state.account(
            &did(2),
            false,
            Some("deleted".into()),
            Announced::at(Timestamp(60_000)),
        );
        let unknown = op(Action::Delete, "com.example.never.seen", 1);
        state.operation(&did(3), unknown, Minute(5));
        let counted = counts(&mut state, Span::All);
        assert_eq!(counted["other"].live, -1_000);
        assert_eq!(counted["other"].accounts, 0);
        assert_eq!(
            state.collections().len(),
            before,
            "collections without records are removed"
        );
    }

    /// An older version counted every collection under its own name.
    #[test]
    fn accounts_of_an_old_checkpoint_count_once_under_other() {
        let mut old = LiveRecords::new(AccountPolicy::default(), 0);
        let all: Vec<Box<str>> = (0..30).map(|n| collection(n).into()).collect();
        old.assign_names(&all);
        for n in 0..30 {
            old.operation(
                &did(n % 4),
                op(Action::Create, &all[n as usize], n),
                Minute(5),
            );
        }
        let each = counts(&mut old, Span::Minute);
        let mut checkpoints = Checkpoints::default();
        checkpoints.make(&mut old, true);

        let mut new = LiveRecords::new(AccountPolicy::default(), 0);
        new.assign_names(&all[..10]);
        checkpoints.load(&mut new, |_| true);
        let sum: i64 = each
            .iter()
            .filter(|(name, _)| all[10..].contains(name))
            .map(|(_, it)| it.accounts)
            .sum();
        assert_eq!(sum, 20);
        // There are 4 accounts, and the checkpoint counts each of them in 5 collections.
        for span in [Span::Minute, Span::Hour] {
            let mut state = LiveRecords::new(AccountPolicy::default(), 0);
            state.assign_names(&all[..10]);
            checkpoints.load(&mut state, |_| true);
            let counted = counts(&mut state, span);
            assert_eq!(sum + counted["other"].accounts, 4);
        }
        let counted = counts(&mut new, Span::All);
        assert_eq!(
            (sum + counted["other"].accounts, counted["other"].live),
            (4, 20)
        );
        new.operation(&did(1), op(Action::Delete, &all[29], 29), Minute(5));
        let counted = counts(&mut new, Span::All);
        assert_eq!((counted["other"].deletes, counted["other"].live), (1, -1));
        assert_eq!(new.gauges().records, 29);
    }
}
