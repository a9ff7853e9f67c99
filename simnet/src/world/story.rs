//! Breaking stories: a hashtag, a link and a few posts that everybody is on about, for minutes to hours.

use crate::random::Random;
use crate::words::{LANG_WEIGHTS, Lang};

/// Stories that are on at the same time, at most.
const STORIES_MAX: usize = 40;
/// Seconds from one story to the next, on average.
const SECONDS_BETWEEN: f64 = 75.0;
/// Stories that are already on when a network starts.
const STORIES_FIRST: usize = 8;
const SECOND: u64 = 1_000_000;

/// A story that is on.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// Its number, from 1: tag and link follow from it.
    pub(crate) number: u32,
    pub(crate) lang: Lang,
    begin: u64,
    /// Microseconds from its begin to its height.
    rise: f64,
    weight: f64,
    /// Its last posts, for those who come later.
    pub(crate) posts: Vec<u32>,
}

/// All stories that are on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stories {
    on: Vec<Story>,
    heats: Vec<f64>,
    total: f64,
    told: u32,
    second: u64,
}

impl Story {
    /// How much is said about it: rises to its weight, then falls slowly.
    fn heat(&self, now: u64) -> f64 {
        let age = now.saturating_sub(self.begin) as f64 / self.rise;
        self.weight * age * (1.0 - age).exp()
    }

    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.begin) as f64 > 7.0 * self.rise
    }

    /// Takes note of a post about it.
    pub(crate) fn add(&mut self, post: u32, random: &mut Random) {
        const POSTS_MAX: usize = 12;
        if self.posts.len() < POSTS_MAX {
            self.posts.push(post);
        } else if random.percent(20) {
            // The first ones stay: they broke it.
            let place = 3 + random.below(POSTS_MAX as u64 - 3) as usize;
            self.posts[place] = post;
        }
    }
}

impl Stories {
    /// Stories at the start of a network, some of them at their height.
    pub(crate) fn new(now: u64, random: &mut Random) -> Self {
        let mut stories = Self::default();
        for _ in 0..STORIES_FIRST {
            let age = random.log_uniform(20.0, 2_400.0) * SECOND as f64;
            stories.begin(now - age as u64, random);
        }
        stories.pass(now, random);
        stories
    }

    /// Lets time pass: once a second stories end, begin, and change.
    pub(crate) fn pass(&mut self, now: u64, random: &mut Random) {
        let second = now / SECOND;
        if second == self.second {
            return;
        }
        let passed = if self.second == 0 {
            1
        } else {
            second - self.second
        };
        self.second = second;
        self.on.retain(|story| !story.is_over(now));
        let chance = 1.0 - (-(passed as f64) / SECONDS_BETWEEN).exp();
        if random.unit() < chance && self.on.len() < STORIES_MAX {
            self.begin(now, random);
        }
        self.heats.clear();
        self.total = 0.0;
        for story in &self.on {
            self.total += story.heat(now);
            self.heats.push(self.total);
        }
    }

    fn begin(&mut self, begin: u64, random: &mut Random) {
        self.told += 1;
        self.on.push(Story {
            number: self.told,
            lang: random.weighted(&LANG_WEIGHTS) as Lang,
            begin,
            rise: random.log_uniform(45.0, 1_800.0) * SECOND as f64,
            weight: random.pareto(1.3).min(12.0),
            posts: Vec::new(),
        });
    }

    /// How much is said about all of them; about 10 is usual.
    pub(crate) fn heat(&self) -> f64 {
        self.total
    }

    /// One of them, by what is said about it.
    pub(crate) fn draw(&mut self, random: &mut Random) -> Option<&mut Story> {
        if self.total <= 0.0 {
            return None;
        }
        let at = random.unit() * self.total;
        let place = self.heats.partition_point(|&heat| heat <= at);
        self.on.get_mut(place)
    }
}
