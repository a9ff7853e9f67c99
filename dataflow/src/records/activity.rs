//! Counts of operations by period and collection, and of the distinct accounts that performed them.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, Span};

use super::partition::SHARDS;
use crate::fact::Activity;
use crate::sizes::{Size, btree_bytes, vec_bytes};

/// A period: its span and its start in minutes.
pub(super) type Period = (Span, u32);

/// For each open period, the pairs of activity row and account that were already counted in it.
pub(super) type OpenPeriods = BTreeMap<Period, HashSet<(u32, u32)>>;

/// Counts of the current dataflow time, and the accounts that were already counted in open periods
/// (the current hour and minute).
///
/// State: an entry for each (activity row, account) of the open hour and the open minute, by the
/// account's shard. The repo stores in which rows an account was ever counted.
#[derive(Debug)]
pub(super) struct ActivityCounts {
    current: HashMap<(Span, u32, u32), Activity>,
    open: Vec<OpenPeriods>,
}

/// The account that performed an operation, and the activity row that counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActivitySource {
    pub collection: u32,
    pub account: u32,
    pub shard: u8,
    /// Whether the account was never counted in this row before.
    pub is_new: bool,
}

impl Default for ActivityCounts {
    fn default() -> Self {
        Self {
            current: HashMap::new(),
            open: vec![OpenPeriods::new(); usize::from(SHARDS)],
        }
    }
}

impl ActivityCounts {
    /// Counts the activity of an account in each period that contains this minute.
    pub fn add(&mut self, minute: Minute, source: ActivitySource, activity: &Activity) {
        let ActivitySource {
            collection,
            account,
            shard,
            is_new,
        } = source;
        let hour = minute.0 / 60 * 60;
        for (span, start) in [(Span::All, 0), (Span::Hour, hour), (Span::Minute, minute.0)] {
            let is_new = match span {
                Span::All => is_new,
                _ => self.mark_counted(shard, (span, start), (collection, account)),
            };
            let current = self.current.entry((span, start, collection)).or_default();
            current.add(&Activity {
                accounts: i64::from(is_new),
                ..*activity
            });
        }
    }

    /// The size. The time depends on the number of shards and of open periods.
    pub fn size(&self) -> Size {
        let mut size = Size {
            entries: 0,
            bytes: self.current.allocation_size() + vec_bytes(&self.open),
        };
        for periods in &self.open {
            size.bytes += btree_bytes::<Period, HashSet<(u32, u32)>>(periods.len());
            periods.values().for_each(|accounts| {
                size.add(Size {
                    entries: accounts.len(),
                    bytes: accounts.allocation_size(),
                });
            });
        }
        size
    }

    /// Marks an account as counted in a row and period. Returns whether this is the first time.
    pub fn mark_counted(&mut self, shard: u8, period: Period, row_and_account: (u32, u32)) -> bool {
        let open = &mut self.open[usize::from(shard)];
        open.entry(period).or_default().insert(row_and_account)
    }

    /// The accounts of a shard that were counted in open periods.
    pub fn open(&self, shard: u16) -> &OpenPeriods {
        &self.open[usize::from(shard)]
    }

    /// Adds to the number of live records of a collection.
    pub fn add_live(&mut self, collection: u32, diff: i64) {
        let current = self.current.entry((Span::All, 0, collection)).or_default();
        current.live += diff;
    }

    /// Takes the counts since the last call, and removes the accounts of periods that have ended.
    pub fn take(
        &mut self,
        now: Timestamp,
        names: impl Fn(u32) -> Box<str>,
    ) -> impl Iterator<Item = (ActivityKey, Activity)> {
        let minute = now.minute().0;
        for open in &mut self.open {
            open.retain(|&(span, start), _| match span {
                Span::Minute => start >= minute,
                _ => start >= minute / 60 * 60,
            });
        }
        let current = std::mem::take(&mut self.current).into_iter();
        current
            .filter(|(_, activity)| *activity != Activity::default())
            .map(move |((span, start_minute, collection), activity)| {
                let collection = names(collection);
                (
                    ActivityKey {
                        span,
                        start_minute,
                        collection,
                    },
                    activity,
                )
            })
    }
}
