//! What people see: posts by the chance that somebody meets them.
//!
//! A post gets tickets when it is written, as many as its luck says; whoever looks for a post draws a ticket. New tickets
//! take the places of random old ones. So attention is in proportion to luck, which has the tail of a power law, and fades
//! exponentially, at constant cost and in constant memory.

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Feed {
    tickets: Vec<u32>,
}

/// How many of 100 posts nobody ever meets.
const UNSEEN_PERCENT: u32 = 44;
/// The tail of likes per post: a density that falls as x^-2.15.
const TAIL: f64 = 1.15;
const TICKETS_MAX: f64 = 4_000.0;
/// Tickets of an average post.
const TICKETS_MEAN: f64 = 3.0;

impl Feed {
    /// A feed in which posts stay for `seconds` on average while `posts_per_second` are written; filled from posts that are
    /// already there, numbers below `posts`.
    pub(crate) fn new(
        posts_per_second: f64,
        seconds: f64,
        posts: u32,
        random: &mut Random,
    ) -> Self {
        let size = (posts_per_second * seconds * TICKETS_MEAN).clamp(2_000.0, 2_000_000.0) as usize;
        let mut tickets = Vec::with_capacity(size + TICKETS_MAX as usize);
        while tickets.len() < size {
            let post = random.below(u64::from(posts)) as u32;
            let count = luck(random).min(size as f64 / 50.0) as usize;
            tickets.extend(std::iter::repeat_n(post, count));
        }
        tickets.truncate(size);
        Self { tickets }
    }

    /// Shows a new post.
    pub(crate) fn add(&mut self, post: u32, random: &mut Random) {
        let luck = if random.percent(UNSEEN_PERCENT) {
            0.0
        } else {
            luck(random)
        };
        self.promote(
            post,
            luck.min(self.tickets.len() as f64 / 50.0) as u32,
            random,
        );
    }

    /// Gives a post so many tickets more.
    pub(crate) fn promote(&mut self, post: u32, tickets: u32, random: &mut Random) {
        for _ in 0..tickets {
            let place = random.below(self.tickets.len() as u64) as usize;
            self.tickets[place] = post;
        }
    }

    /// A post that somebody meets.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        self.tickets[random.below(self.tickets.len() as u64) as usize]
    }
}

fn luck(random: &mut Random) -> f64 {
    random.pareto(TAIL).min(TICKETS_MAX)
}
