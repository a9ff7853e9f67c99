//! Operations counted by stretch of time and collection, and the distinct accounts behind them.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, Span};

use crate::fact::Activity;

/// Counts of the running time, and who was counted already in stretches that are still open.
///
/// State: an entry per (collection, account) of all time, and of the open hour and minute.
#[derive(Debug, Default)]
pub(super) struct ActivityCounts {
    running: HashMap<(Span, u32, u32), Activity>,
    seen_ever: HashSet<(u32, u32)>,
    seen_in: BTreeMap<(Span, u32), HashSet<(u32, u32)>>,
}

impl ActivityCounts {
    /// Counts something that `account` did in a collection, in each stretch that holds this minute.
    pub fn add(&mut self, minute: Minute, (collection, account): (u32, u32), activity: &Activity) {
        let hour = minute.0 / 60 * 60;
        for (span, start) in [(Span::All, 0), (Span::Hour, hour), (Span::Minute, minute.0)] {
            let seen = match span {
                Span::All => &mut self.seen_ever,
                _ => self.seen_in.entry((span, start)).or_default(),
            };
            let new = i64::from(seen.insert((collection, account)));
            let running = self.running.entry((span, start, collection)).or_default();
            running.add(&Activity {
                accounts: new,
                ..*activity
            });
        }
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
        self.seen_in.retain(|&(span, start), _| match span {
            Span::Minute => start >= minute,
            _ => start >= minute / 60 * 60,
        });
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
