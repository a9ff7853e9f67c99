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
    /// The counts by minute and activity row.
    current: HashMap<(u32, u32), MinuteCounts>,
    /// The change of the number of live records of each activity row.
    live: HashMap<u32, i64>,
    open: Vec<OpenPeriods>,
}

/// Counts of one minute, from which those of its hour and of all time follow.
#[derive(Clone, Copy, Debug, Default)]
struct MinuteCounts {
    /// The operations; `accounts` are those not counted before in the minute.
    activity: Activity,
    /// Accounts that were not counted before in the hour.
    new_in_hour: i64,
    /// Accounts that were never counted before.
    new: i64,
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
            live: HashMap::new(),
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
        let row_and_account = (collection, account);
        let in_minute = self.mark_counted(shard, (Span::Minute, minute.0), row_and_account);
        // An account that was counted in the minute was counted in its hour, too.
        let hour = (Span::Hour, hour_of(minute.0));
        let in_hour = in_minute && self.mark_counted(shard, hour, row_and_account);
        let counts = self.current.entry((minute.0, collection)).or_default();
        counts.activity.add(&Activity {
            accounts: i64::from(in_minute),
            ..*activity
        });
        counts.new_in_hour += i64::from(in_hour);
        counts.new += i64::from(is_new);
    }

    /// The size. The time depends on the number of shards and of open periods.
    pub fn size(&self) -> Size {
        let mut size = Size {
            entries: 0,
            bytes: self.current.allocation_size()
                + self.live.allocation_size()
                + vec_bytes(&self.open),
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
        *self.live.entry(collection).or_default() += diff;
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
                _ => start >= hour_of(minute),
            });
        }
        self.take_periods()
            .into_iter()
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

    /// Takes the counts since the last call, by span, start of the period, and activity row.
    fn take_periods(&mut self) -> HashMap<(Span, u32, u32), Activity> {
        let mut periods = HashMap::<(Span, u32, u32), Activity>::new();
        for ((minute, row), counts) in std::mem::take(&mut self.current) {
            let MinuteCounts {
                activity,
                new_in_hour,
                new,
            } = counts;
            for (span, start, accounts) in [
                (Span::Minute, minute, activity.accounts),
                (Span::Hour, hour_of(minute), new_in_hour),
                (Span::All, 0, new),
            ] {
                let period = periods.entry((span, start, row)).or_default();
                period.add(&Activity {
                    accounts,
                    ..activity
                });
            }
        }
        for (row, live) in std::mem::take(&mut self.live) {
            periods.entry((Span::All, 0, row)).or_default().live += live;
        }
        periods
    }
}

/// The first minute of the hour of a minute.
fn hour_of(minute: u32) -> u32 {
    minute / 60 * 60
}
