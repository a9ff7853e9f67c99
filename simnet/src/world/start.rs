//! The state of a network at its start.

use skytide_core::id::Tid;

use super::accounts::{Account, NONE, Post, RecordClass, Status};
use super::timeline::Timeline;
use super::{DAY, World, unstreamed_record};
use crate::random::Weights;
use crate::words::{LANGUAGE_WEIGHTS, LanguageId};

/// Mean time in seconds that a post stays in the timeline.
const TIMELINE_SECONDS: f64 = 1_200.0;
/// Posts per frame of the stream, approximately.
const POSTS_PER_FRAME: f64 = 0.12;
/// Mean of the logarithm of an account's activity, which is log-normally distributed.
const ACTIVITY_MU: f64 = 2.40;
/// Standard deviation of the logarithm of an account's activity.
const ACTIVITY_SIGMA: f64 = 1.85;

impl World {
    /// Creates the initial accounts with the records that they wrote before the start.
    pub(super) fn populate(&mut self) {
        let (mut activity, mut popularity) = (Vec::new(), Vec::new());
        let random = &mut self.random;
        let accounts = self.options.accounts.max(1);
        // The number of likes is proportional to activity. The mean of a log-normal distribution is
        // e^(sigma^2 / 2) times its median
        // (<https://en.wikipedia.org/wiki/Log-normal_distribution>).
        let mean_per_median = (ACTIVITY_SIGMA * ACTIVITY_SIGMA / 2.0).exp();
        let likes_median = f64::from(self.options.history) / mean_per_median;
        for number in 0..accounts {
            // Activity, popularity and the number of likes are correlated through this standard
            // normal number.
            let z = random.normal();
            let log_activity = ACTIVITY_MU + ACTIVITY_SIGMA * z;
            activity.push(log_activity.min(ACTIVITY_MU + 4.0 * ACTIVITY_SIGMA).exp());
            popularity.push((0.6 * z + 1.9 * random.normal()).exp());
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
            let likes = (likes_median * (ACTIVITY_SIGMA * z).exp()).min(20_000.0) as u64;
            let mut at = created;
            for like in 0..likes {
                at += 1 + random.below((self.now - DAY - created) / likes.max(1));
                // Each initial account writes at most 2 posts. A post that does not exist yet
                // gets no like.
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
        self.subjects = Weights::new(&popularity);
        let posts_per_second = self.options.rate * POSTS_PER_FRAME;
        self.timeline = Timeline::new(
            posts_per_second,
            TIMELINE_SECONDS,
            self.posts.len() as u32,
            random,
        );
    }
}
