//! Breaking stories: a hashtag, a link and a few posts that many accounts write about, for minutes
//! to hours.

use crate::random::Random;
use crate::words::{LANGUAGE_WEIGHTS, LanguageId};

/// Maximum number of stories at the same time.
const STORIES_MAX: usize = 40;
/// Mean time in seconds between the starts of two stories.
const SECONDS_BETWEEN: f64 = 75.0;
/// Stories in progress when a network starts.
const STORIES_FIRST: usize = 8;
const SECOND: u64 = 1_000_000;

/// A story in progress.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// Its number, from 1. Hashtag and link follow from it.
    pub(crate) number: u32,
    pub(crate) lang: LanguageId,
    start: u64,
    /// Microseconds from its start to its peak.
    rise: f64,
    weight: f64,
    /// Posts about it, from which readers draw.
    pub(crate) posts: Vec<u32>,
}

/// The number of the story that never ends. Other stories never get that far.
const ENDLESS: u32 = (1 << 24) - 1;

/// All stories in progress.
#[derive(Clone, Debug)]
pub(crate) struct Stories {
    /// The story of [`Options::hot_percent`](crate::Options::hot_percent).
    endless: Story,
    active: Vec<Story>,
    cumulative_attention: Vec<f64>,
    total: f64,
    count: u32,
    second: u64,
}

impl Story {
    /// Current attention: rises to its weight, then falls slowly.
    fn attention(&self, now: u64) -> f64 {
        let age = now.saturating_sub(self.start) as f64 / self.rise;
        self.weight * age * (1.0 - age).exp()
    }

    fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.start) as f64 > 7.0 * self.rise
    }

    /// Records a post about it.
    pub(crate) fn add(&mut self, post: u32, random: &mut Random) {
        const POSTS_MAX: usize = 12;
        if self.posts.len() < POSTS_MAX {
            self.posts.push(post);
        } else if random.percent(20) {
            // The first three posts stay: they broke the story.
            let index = 3 + random.below(POSTS_MAX as u64 - 3) as usize;
            self.posts[index] = post;
        }
    }
}

impl Stories {
    /// The stories at the start of a network, some of them at their peak.
    pub(crate) fn new(now: u64, random: &mut Random) -> Self {
        let mut stories = Self {
            endless: Story {
                number: ENDLESS,
                lang: 0,
                start: now,
                rise: f64::INFINITY,
                weight: 0.0,
                posts: Vec::new(),
            },
            active: Vec::new(),
            cumulative_attention: Vec::new(),
            total: 0.0,
            count: 0,
            second: 0,
        };
        for _ in 0..STORIES_FIRST {
            let age = random.log_uniform(20.0, 2_400.0) * SECOND as f64;
            stories.start(now - age as u64, random);
        }
        stories.advance_time(now, random);
        stories
    }

    /// Advances the time: once a second, stories end, start and change.
    pub(crate) fn advance_time(&mut self, now: u64, random: &mut Random) {
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
        self.active.retain(|story| !story.is_over(now));
        let chance = 1.0 - (-(passed as f64) / SECONDS_BETWEEN).exp();
        if random.unit() < chance && self.active.len() < STORIES_MAX {
            self.start(now, random);
        }
        self.cumulative_attention.clear();
        self.total = 0.0;
        for story in &self.active {
            self.total += story.attention(now);
            self.cumulative_attention.push(self.total);
        }
    }

    fn start(&mut self, start: u64, random: &mut Random) {
        self.count += 1;
        self.active.push(Story {
            number: self.count,
            lang: random.weighted(&LANGUAGE_WEIGHTS) as LanguageId,
            start,
            rise: random.log_uniform(45.0, 1_800.0) * SECOND as f64,
            weight: random.pareto(1.3).min(12.0),
            posts: Vec::new(),
        });
    }

    /// Current attention to all stories; about 10 is usual.
    pub(crate) fn attention(&self) -> f64 {
        self.total
    }

    /// Draws whether something is about a story, and about which: with `hot_percent` the one that
    /// never ends, otherwise with `percent` another one, weighted by its attention.
    pub(crate) fn draw(
        &mut self,
        hot_percent: Option<u8>,
        percent: u32,
        random: &mut Random,
    ) -> Option<&mut Story> {
        if hot_percent.is_some_and(|hot| random.percent(hot.into())) {
            return Some(&mut self.endless);
        }
        if !random.percent(percent) || self.total <= 0.0 {
            return None;
        }
        let at = random.unit() * self.total;
        let index = self
            .cumulative_attention
            .partition_point(|&attention| attention <= at);
        self.active.get_mut(index)
    }
}
