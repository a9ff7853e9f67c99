//! Who does what, and when: everything about a network but its bytes.
//!
//! ```text
//! decide ─▶ Plan ─┬─▶ rendered to a frame (render.rs), which applies it
//!    ▲            └─▶ applied only: a frame that is skipped costs a hundredth
//!    └── accounts, posts, feed, stories, agenda, one sequence of random numbers
//! ```
//!
//! A plan is decided when the one before has been applied, so the two ways cannot differ. Records are 16 bytes here, from
//! which their content follows ([`cast::Rec`]).

mod agenda;
pub(crate) mod cast;
mod deeds;
mod feed;
mod lives;
mod making;
pub(crate) mod plan;
mod start;
mod story;
mod trouble;

use std::collections::VecDeque;

use skytide_core::event::Action;
use skytide_core::id::Tid;
use skytide_core::time::Timestamp;

use crate::bad::Kind;
use crate::identity::Registry;
use crate::options::Options;
use crate::random::{Random, Weights, mix};
use crate::words::Lang;
use agenda::Agenda;
use cast::{Account, Class, NONE, Post, Rec, Status, UNTOLD};
use feed::Feed;
pub(crate) use plan::{Deed, Plan, Step};
use story::Stories;

/// A network without its bytes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) accounts: Vec<Account>,
    pub(crate) posts: Vec<Post>,
    pub(crate) registry: Registry,
    random: Random,
    feed: Feed,
    stories: Stories,
    agenda: Agenda,
    /// What must follow at once, as the messages about a new account.
    queue: VecDeque<Deed>,
    authors: Weights,
    subjects: Weights,
    /// Microseconds since 1970.
    now: u64,
    seq: u64,
    frames: u64,
    /// Which of the last frames were good ones: the newest in the lowest bit.
    good: u8,
}

/// Frames at the start that have all the same time and are good: a reader cannot know the time before.
const FRAMES_CALM: u64 = 64;
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let mut random = Random::new(mix(&[options.seed, 1]));
        let now = options.start.0 * 1_000;
        let mut world = Self {
            registry: Registry::new(options.seed, options.signed),
            accounts: Vec::new(),
            posts: Vec::new(),
            feed: Feed::new(1.0, 1.0, 1, &mut random),
            stories: Stories::new(now, &mut random),
            agenda: Agenda::default(),
            queue: VecDeque::new(),
            authors: Weights::new(&[1.0]),
            subjects: Weights::new(&[1.0]),
            now,
            seq: 0,
            frames: 0,
            good: 0,
            random,
            options,
        };
        world.populate();
        world
    }

    /// Decides what the next frame says; `None` when the network has come to its end.
    pub(crate) fn decide(&mut self) -> Option<Plan> {
        if self
            .options
            .events_max
            .is_some_and(|max| self.frames >= max)
        {
            return None;
        }
        self.frames += 1;
        self.pass();
        let mut trouble = None;
        if self.frames > FRAMES_CALM && !self.options.bad.is_none() {
            let draw = self.random.below(1_000_000) as u32;
            let kind = self.options.bad.kind(draw);
            trouble = kind.and_then(|kind| Some((kind, self.trouble(kind)?)));
        }
        let (bad, deed) = match trouble {
            Some((kind, deed)) => (Some(kind), deed),
            None => (None, self.deed()),
        };
        let missing = match bad {
            Some(Kind::SeqGap) => 1 + self.random.below(40),
            _ => 0,
        };
        let numbered = bad.is_none_or(Kind::is_numbered);
        self.good = self.good << 1 | u8::from(bad.is_none());
        self.seq += missing + u64::from(numbered);
        let stamp = self.stamp();
        Some(Plan {
            now: self.now,
            stamp,
            seq: self.seq,
            missing,
            bad,
            deed,
        })
    }

    /// Lets time pass until the next frame.
    fn pass(&mut self) {
        let rate = self.options.rate.max(1e-6) * rhythm(self.now);
        let micros = self.random.exponential(1e6 / rate);
        self.now += micros as u64;
        self.stories.pass(self.now, &mut self.random);
    }

    /// When the relay says it was: up to a second ago, so that times go back and forth.
    fn stamp(&mut self) -> Timestamp {
        if self.frames <= FRAMES_CALM {
            return self.options.start;
        }
        let delay = self.random.unit();
        let millis = (self.now / 1_000).saturating_sub((delay * delay * delay * 1_050.0) as u64);
        Timestamp(millis.max(self.options.start.0))
    }

    /// Does what a plan says.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        match &plan.deed {
            Deed::Commit { account, steps } => {
                for step in steps {
                    self.step(*account, step);
                }
                self.advance(*account, plan.now);
            }
            Deed::Empty { account, moves } | Deed::Sync { account, moves } => {
                if *moves {
                    self.advance(*account, plan.now);
                }
                self.accounts[*account as usize].told = true;
            }
            Deed::Identity {
                account, change, ..
            } => {
                self.accounts[*account as usize].handle += u16::from(*change);
            }
            Deed::Status { account, status } => {
                let account = &mut self.accounts[*account as usize];
                account.status = *status;
                if *status == Status::Deleted {
                    let posts = account
                        .records
                        .iter()
                        .filter(|rec| rec.class == Class::Post);
                    posts.for_each(|rec| self.posts[rec.subject as usize].gone = true);
                    account.records = Vec::new();
                    account.tree = None;
                }
            }
            Deed::Noise { .. } => {}
        }
    }

    /// Whether the frames before are such that they can be sent again.
    fn can_repeat(&self, kind: Kind) -> bool {
        let needed = if kind == Kind::SeqBack { 0b11 } else { 0b1 };
        self.good & needed == needed
    }

    fn step(&mut self, account: u32, step: &Step) {
        let Step { action, rec } = *step;
        let account = &mut self.accounts[account as usize];
        match action {
            Action::Create | Action::Update => account.put(rec),
            Action::Delete => account.take(rec.class, rec.tid),
        }
        if rec.class == Class::Post {
            let post = &mut self.posts[rec.subject as usize];
            post.gone = action == Action::Delete;
            if post.version != rec.version {
                post.version = rec.version;
                post.digest = None;
            }
        }
    }

    fn advance(&mut self, account: u32, now: u64) {
        let account = &mut self.accounts[account as usize];
        account.rev = account.tid(now);
        account.told = true;
    }
}

/// A record that the stream has not told of, or not yet.
fn record(class: Class, tid: Tid, subject: u32) -> Rec {
    Rec {
        tid,
        subject,
        class,
        version: 0,
        subject_version: 0,
        fault: UNTOLD,
    }
}

impl Post {
    fn plain(author: u32, tid: Tid, lang: Lang) -> Self {
        Self {
            tid,
            author,
            parent: NONE,
            root: NONE,
            quote: NONE,
            story: 0,
            lang,
            version: 0,
            refers: [0; 3],
            depth: 1,
            fault: (0, 0),
            gone: false,
            digest: None,
        }
    }
}

/// How much of the mean rate a time of day has: most at 20:00 UTC, least at 8:00.
fn rhythm(now: u64) -> f64 {
    let turn = (now % DAY) as f64 / DAY as f64;
    1.0 + 0.35 * (std::f64::consts::TAU * (turn - 14.0 / 24.0)).sin()
}
