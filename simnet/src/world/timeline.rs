//! Which posts people see: a random draw by popularity.
//!
//! A new post gets tickets in proportion to its popularity. A reader who looks for a post draws a
//! ticket. New tickets replace random old ones. So attention is proportional to popularity, which
//! has a power-law tail, and decays exponentially, at constant cost and in constant memory.

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    tickets: Vec<u32>,
}

/// Percentage of posts that no reader sees.
const UNSEEN_PERCENT: u32 = 44;
/// Exponent of the tail of likes per post: their density falls as x^-2.15.
const TAIL: f64 = 1.15;
const TICKETS_MAX: f64 = 4_000.0;
/// Tickets of an average post.
const TICKETS_MEAN: f64 = 3.0;

impl Timeline {
    /// A timeline in which posts stay for `seconds` on average while `posts_per_second` are
    /// written. It is filled with existing posts, those with indexes below `posts`.
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
            let count = popularity(random).min(size as f64 / 50.0) as usize;
            tickets.extend(std::iter::repeat_n(post, count));
        }
        tickets.truncate(size);
        Self { tickets }
    }

    /// Adds a new post.
    pub(crate) fn add(&mut self, post: u32, random: &mut Random) {
        let popularity = if random.percent(UNSEEN_PERCENT) {
            0.0
        } else {
            popularity(random)
        };
        self.promote(
            post,
            popularity.min(self.tickets.len() as f64 / 50.0) as u32,
            random,
        );
    }

    /// Gives a post more tickets.
    pub(crate) fn promote(&mut self, post: u32, tickets: u32, random: &mut Random) {
        for _ in 0..tickets {
            let index = random.below(self.tickets.len() as u64) as usize;
            self.tickets[index] = post;
        }
    }

    /// Draws a post that a reader sees.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        self.tickets[random.below(self.tickets.len() as u64) as usize]
    }
}

fn popularity(random: &mut Random) -> f64 {
    random.pareto(TAIL).min(TICKETS_MAX)
}
