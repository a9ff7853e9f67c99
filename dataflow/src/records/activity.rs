//! Operations counted by stretch of time and collection, and the distinct accounts behind them.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, Span};

use super::state::SHARDS;
use crate::fact::Activity;

/// Who was counted already in a stretch of time that is still open: pairs of collection and account.
pub(super) type Open = BTreeMap<(Span, u32), HashSet<(u32, u32)>>;

/// Counts of the running time, and who was counted already in stretches that are still open.
///
/// State: an entry per (collection, account) of the open hour and minute, by the account's shard. Who was ever counted
/// stands in the repo.
#[derive(Debug)]
pub(super) struct ActivityCounts {
    running: HashMap<(Span, u32, u32), Activity>,
    open: Vec<Open>,
}

/// Who did something, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doer {
    pub collection: u32,
    pub account: u32,
    pub shard: u8,
    /// The account was never counted in this collection before.
    pub new: bool,
}

impl Default for ActivityCounts {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            open: vec![Open::new(); usize::from(SHARDS)],
        }
    }
}

impl ActivityCounts {
    /// Counts something that somebody did, in each stretch that holds this minute.
    pub fn add(&mut self, minute: Minute, doer: Doer, activity: &Activity) {
        let Doer {
            collection,
            account,
            shard,
            new,
        } = doer;
        let hour = minute.0 / 60 * 60;
        for (span, start) in [(Span::All, 0), (Span::Hour, hour), (Span::Minute, minute.0)] {
            let new = match span {
                Span::All => new,
                _ => self.saw(shard, (span, start), (collection, account)),
            };
            let running = self.running.entry((span, start, collection)).or_default();
            running.add(&Activity {
                accounts: i64::from(new),
                ..*activity
            });
        }
    }

    /// Notes that an account was counted in a stretch; whether that is the first time.
    pub fn saw(&mut self, shard: u8, stretch: (Span, u32), pair: (u32, u32)) -> bool {
        let open = &mut self.open[usize::from(shard)];
        open.entry(stretch).or_default().insert(pair)
    }

    /// Who of a shard was counted in which stretch that is still open.
    pub fn open(&self, shard: u16) -> &Open {
        &self.open[usize::from(shard)]
    }

    /// Counts live records of a collection.
    pub fn live(&mut self, collection: u32, diff: i64) {
        let running = self.running.entry((Span::All, 0, collection)).or_default();
        running.live += diff;
    }

    /// Takes what was counted since it was last taken, and forgets who was seen in stretches that are over.
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
        let running = std::mem::take(&mut self.running).into_iter();
        running
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
