//! The state of a network at its start.

use skytide_core::id::Tid;

use super::accounts::{Account, NONE, Post, RecordClass, Status};
use super::timeline::Timeline;
use super::{DAY, World, unstreamed_record};
use crate::random::Weights;
use crate::words::{LANGUAGE_WEIGHTS, LanguageId};

/// Mean time in seconds that a post stays in the timeline.
const TIMELINE_SECONDS: f64 = 1_200.0;

impl World {
    /// Creates the initial accounts with the records that they wrote before the start.
    pub(super) fn populate(&mut self) {
        const MU: f64 = 2.40;
        const SIGMA: f64 = 1.85;
        let (mut activity, mut fame) = (Vec::new(), Vec::new());
        let random = &mut self.random;
        let accounts = self.options.accounts.max(1);
        // The number of records is proportional to activity. The mean of the log-normal
        // distribution is e^(SIGMA^2 / 2).
        let mean = f64::from(self.options.history) / (SIGMA * SIGMA / 2.0).exp();
        for number in 0..accounts {
            // A standard normal number that activity, fame and the number of records share.
            let energy = random.normal();
            activity.push((MU + SIGMA * energy).min(MU + 4.0 * SIGMA).exp());
            fame.push((0.6 * energy + 1.9 * random.normal()).exp());
            let created = self.now - 2 * DAY - random.below(700 * DAY);
            let lang = random.weighted(&LANGUAGE_WEIGHTS) as LanguageId;
            let identity = self.registry.identity(number);
            let mut account = Account {
                identity,
                lang,
                status: Status::Active,
                handle: 0,
                clock: created,
                rev: Tid(0),
                announced: false,
                records: Vec::new(),
                tree: None,
            };
            if random.percent(85) {
                account.insert_record(unstreamed_record(RecordClass::Profile, Tid(0), NONE));
            }
            let likes = (mean * (SIGMA * energy).exp()).min(20_000.0) as u64;
            let mut at = created;
            for like in 0..likes {
                at += 1 + random.below((self.now - DAY - created) / likes.max(1));
                let post = random.below(u64::from(2 * accounts));
                if like > 0 && (post as usize) < self.posts.len() {
                    let tid = account.next_tid(at);
                    account.insert_record(unstreamed_record(RecordClass::Like, tid, post as u32));
                }
            }
            let mut at = self.now - DAY;
            for _ in 0..1 + random.below(2) {
                at += random.below(DAY / 3);
                let tid = account.next_tid(at);
                let index = self.posts.len() as u32;
                self.posts.push(Post::plain(number, tid, lang));
                account.insert_record(unstreamed_record(RecordClass::Post, tid, index));
            }
            account.rev = account.next_tid(at);
            self.accounts.push(account);
        }
        self.authors = Weights::new(&activity);
        self.subjects = Weights::new(&fame);
        let posts_per_second = self.options.rate * 0.12;
        self.timeline = Timeline::new(
            posts_per_second,
            TIMELINE_SECONDS,
            self.posts.len() as u32,
            random,
        );
    }
}
