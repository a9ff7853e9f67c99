//! `activity` and `counters`: operations by collection and period, and counters of events.
//!
//! ```text
//! facts ─ (period, collection) ──exchange──▶ sum ─▶ rows
//!   └──── (counter's name) ──────exchange──▶ sum ─▶ rows
//! ```
//!
//! Rows of minutes expire after 24 hours, rows of hours after 60 days.
//!
//! State: one entry for each row. It is shared with the worker, which writes it into checkpoints,
//! because live records cannot supply these counts again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use differential_dataflow::Hashable;
use skytide_core::time::Minute;
use skytide_core::view::{ActivityKey, ActivityRow, CounterRow, Span, ViewId, Window};
use timely::dataflow::channels::pact::Exchange;

use super::changes::TouchedRows;
use crate::fact::{Activity, Fact};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::on_tick::on_tick;
use crate::sizes::{COLLECTIONS, HeapSize, Size, Sizes, StateSizes, btree_bytes};
use crate::types::{Rows, Shared, SuppressedRows, ViewInput};

/// Days after which the rows of hours expire.
const HOURS_KEPT_DAYS: u32 = 60;

/// Computes the rows of `activity`.
pub fn activity<'s>(
    input: ViewInput<'s>,
    sums: Shared<BTreeMap<ActivityKey, Activity>>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let counted = flat_map_facts(input.facts, "OfActivity", |fact, _time, diff, counted| {
        if let Fact::Activity(key, activity) = fact {
            debug_assert_eq!(diff, 1, "counts of events are never retracted");
            counted.push((key.clone(), *activity));
        }
    });

    let by_key = Exchange::new(|(key, _): &(ActivityKey, Activity)| key.hashed());
    let state = input.clocks.states.share(Sums {
        name: "activity.sums",
        sums,
        key_bytes: 0,
    });
    on_tick(
        "Activity",
        counted,
        by_key,
        input.clocks,
        move |time, clock, counted, rows| {
            let Sums {
                sums, key_bytes, ..
            } = &mut *state.borrow_mut();
            let sums = &mut *sums.borrow_mut();
            let mut touched = TouchedRows::<ActivityKey, ActivityRow>::new(ViewId::Activity, time);
            for (key, activity) in counted.into_iter().flatten() {
                touched.touch(&key, || sums.get(&key).map(row));
                entry(sums, key, key_bytes).add(&activity);
            }
            for span in [Span::Hour, Span::Minute] {
                for key in expired(sums, span, clock.now.minute()) {
                    touched.touch(&key, || sums.get(&key).map(row));
                    if sums.remove(&key).is_some() {
                        *key_bytes = key_bytes.saturating_sub(key.heap_bytes());
                    }
                }
            }
            if suppressed.emits(ViewId::Activity, time) {
                touched.emit(|key| sums.get(key).map(row), rows);
            }
        },
    )
}

/// Computes the rows of `counters`.
pub fn counters<'s>(
    input: ViewInput<'s>,
    sums: Shared<BTreeMap<String, u64>>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let counted = flat_map_facts(input.facts, "OfCounters", |fact, _time, _diff, counted| {
        if let Fact::Counter(name, count) = fact {
            counted.push((name.to_string(), *count));
        }
    });

    let by_name = Exchange::new(|(name, _): &(String, u64)| name.hashed());
    let state = input.clocks.states.share(Sums {
        name: "counters.sums",
        sums,
        key_bytes: 0,
    });
    on_tick(
        "Counters",
        counted,
        by_name,
        input.clocks,
        move |time, _clock, counted, rows| {
            let Sums {
                sums, key_bytes, ..
            } = &mut *state.borrow_mut();
            let sums = &mut *sums.borrow_mut();
            let row = |value: &u64| CounterRow { value: *value };
            let mut touched = TouchedRows::<String, CounterRow>::new(ViewId::Counters, time);
            for (name, count) in counted.into_iter().flatten() {
                touched.touch(&name, || sums.get(&name).map(row));
                *entry(sums, name, key_bytes) += count;
            }
            if suppressed.emits(ViewId::Counters, time) {
                touched.emit(|name| sums.get(name).map(row), rows);
            }
        },
    )
}

/// Sums by key.
struct Sums<K, V> {
    /// The name under which their size is reported.
    name: &'static str,
    sums: Shared<BTreeMap<K, V>>,
    /// What the keys point to, in bytes.
    key_bytes: usize,
}

impl<K, V> StateSizes for Sums<K, V> {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let entries = self.sums.borrow().len();
        let size = Size {
            entries,
            bytes: btree_bytes::<K, V>(entries) + self.key_bytes,
        };
        sizes.add(self.name, size, COLLECTIONS);
    }
}

impl HeapSize for Activity {
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The sum of a key; zero if there was none. Adds what a new key points to to `key_bytes`.
fn entry<'a, K: Ord + HeapSize, V: Default>(
    sums: &'a mut BTreeMap<K, V>,
    key: K,
    key_bytes: &mut usize,
) -> &'a mut V {
    match sums.entry(key) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            *key_bytes += entry.key().heap_bytes();
            entry.insert(V::default())
        }
    }
}

/// The keys of a span whose rows have expired.
fn expired(sums: &BTreeMap<ActivityKey, Activity>, span: Span, now: Minute) -> Vec<ActivityKey> {
    let first = match span {
        Span::All => 0,
        Span::Hour => (now.0 / 60 * 60).saturating_sub(HOURS_KEPT_DAYS * 24 * 60),
        Span::Minute => Window::Day.first_minute(now).0,
    };
    let from = |start_minute| ActivityKey {
        span,
        start_minute,
        collection: "".into(),
    };
    sums.range(from(0)..from(first))
        .map(|(key, _)| key.clone())
        .collect()
}

fn row(activity: &Activity) -> ActivityRow {
    let count = |n: i64| u64::try_from(n).expect("a count is not negative");
    ActivityRow {
        creates: count(activity.creates),
        updates: count(activity.updates),
        deletes: count(activity.deletes),
        bytes: count(activity.bytes),
        accounts: count(activity.accounts),
        live: count(activity.live),
    }
}
