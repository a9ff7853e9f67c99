//! Who does what, and when: everything about a network except its bytes.
//!
//! ```text
//! plan_next ─▶ FramePlan ─┬─▶ rendered as a frame (render.rs), which also applies it
//!     ▲                   └─▶ applied only: skipping a frame costs a hundredth of rendering it
//!     └── accounts, posts, timeline, stories, schedule, one sequence of random numbers
//! ```
//!
//! Each frame is planned after the previous plan was applied, so both ways give the same result. A
//! record takes 16 bytes here; its content follows from them ([`accounts::CompactRecord`]).

pub(crate) mod accounts;
mod actions;
mod creation;
mod lifecycle;
mod malformed;
pub(crate) mod plan;
mod schedule;
mod start;
mod story;
mod timeline;

use std::collections::VecDeque;

use skytide_core::event::Action;
use skytide_core::id::Tid;
use skytide_core::time::Timestamp;

use crate::identity::Registry;
use crate::malformed::Kind;
use crate::options::Options;
use crate::random::{Random, Weights, mix};
use crate::words::LanguageId;
use accounts::{Account, CompactRecord, NONE, NOT_STREAMED, Post, RecordClass, Status};
pub(crate) use plan::{AccountAction, FramePlan, RecordOp};
use schedule::Schedule;
use story::Stories;
use timeline::Timeline;

/// A network without its bytes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) accounts: Vec<Account>,
    pub(crate) posts: Vec<Post>,
    pub(crate) registry: Registry,
    random: Random,
    timeline: Timeline,
    stories: Stories,
    schedule: Schedule,
    /// Actions that must come next, such as the messages about a new account.
    queue: VecDeque<AccountAction>,
    authors: Weights,
    subjects: Weights,
    /// Microseconds since 1970.
    now: u64,
    seq: u64,
    frames: u64,
    /// Which of the last frames were well-formed; the newest is the lowest bit.
    well_formed: u8,
}

/// The first frames are well-formed and share one time: a consumer cannot know any earlier time.
const CALM_FRAMES: u64 = 64;
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
            timeline: Timeline::new(1.0, 1.0, 1, &mut random),
            stories: Stories::new(now, &mut random),
            schedule: Schedule::default(),
            queue: VecDeque::new(),
            authors: Weights::new(&[1.0]),
            subjects: Weights::new(&[1.0]),
            now,
            seq: 0,
            frames: 0,
            well_formed: 0,
            random,
            options,
        };
        world.populate();
        world
    }

    /// Plans the next frame; `None` at the end of the network.
    pub(crate) fn plan_next(&mut self) -> Option<FramePlan> {
        if self
            .options
            .events_max
            .is_some_and(|max| self.frames >= max)
        {
            return None;
        }
        self.frames += 1;
        self.advance_time();
        let mut planned = None;
        if self.frames > CALM_FRAMES && !self.options.malformed.is_none() {
            let draw = self.random.below(1_000_000) as u32;
            let kind = self.options.malformed.kind(draw);
            planned = kind.and_then(|kind| Some((kind, self.malformed_action(kind)?)));
        }
        let (malformed, action) = match planned {
            Some((kind, action)) => (Some(kind), action),
            None => (None, self.next_action()),
        };
        let missing = match malformed {
            Some(Kind::SeqGap) => 1 + self.random.below(40),
            _ => 0,
        };
        let numbered = malformed.is_none_or(Kind::is_numbered);
        self.well_formed = self.well_formed << 1 | u8::from(malformed.is_none());
        self.seq += missing + u64::from(numbered);
        let stamp = self.relay_time();
        Some(FramePlan {
            now: self.now,
            stamp,
            seq: self.seq,
            missing,
            malformed,
            action,
        })
    }

    /// Advances the time to the next frame.
    fn advance_time(&mut self) {
        let rate = self.options.rate.max(1e-6) * daily_factor(self.now);
        let micros = self.random.exponential(1e6 / rate);
        self.now += micros as u64;
        self.stories.advance_time(self.now, &mut self.random);
    }

    /// The time that the relay writes into the frame: up to a second ago, so frame times go back
    /// and forth.
    fn relay_time(&mut self) -> Timestamp {
        if self.frames <= CALM_FRAMES {
            return self.options.start;
        }
        let delay = self.random.unit();
        let millis = (self.now / 1_000).saturating_sub((delay * delay * delay * 1_050.0) as u64);
        Timestamp(millis.max(self.options.start.0))
    }

    /// Applies a planned frame.
    pub(crate) fn apply(&mut self, plan: &FramePlan) {
        match &plan.action {
            AccountAction::Commit { account, ops } => {
                for op in ops {
                    self.apply_op(*account, op);
                }
                self.advance_rev(*account, plan.now);
            }
            AccountAction::EmptyCommit { account, new_rev }
            | AccountAction::Sync { account, new_rev } => {
                if *new_rev {
                    self.advance_rev(*account, plan.now);
                }
                self.accounts[*account as usize].announced = true;
            }
            AccountAction::Identity {
                account,
                handle_changed,
                ..
            } => {
                self.accounts[*account as usize].handle += u16::from(*handle_changed);
            }
            AccountAction::Status { account, status } => {
                let account = &mut self.accounts[*account as usize];
                account.status = *status;
                if *status == Status::Deleted {
                    let posts = account
                        .records
                        .iter()
                        .filter(|rec| rec.class == RecordClass::Post);
                    posts.for_each(|rec| self.posts[rec.subject as usize].deleted = true);
                    account.records = Vec::new();
                    account.tree = None;
                }
            }
            AccountAction::Noise { .. } => {}
        }
    }

    /// Whether the last frames are well-formed, so that they can be sent again.
    fn can_repeat(&self, kind: Kind) -> bool {
        let needed = if kind == Kind::SeqBack { 0b11 } else { 0b1 };
        self.well_formed & needed == needed
    }

    fn apply_op(&mut self, account: u32, op: &RecordOp) {
        let RecordOp { action, rec } = *op;
        let account = &mut self.accounts[account as usize];
        match action {
            Action::Create | Action::Update => account.insert_record(rec),
            Action::Delete => account.remove_record(rec.class, rec.tid),
        }
        if rec.class == RecordClass::Post {
            let post = &mut self.posts[rec.subject as usize];
            post.deleted = action == Action::Delete;
            if post.version != rec.version {
                post.version = rec.version;
                post.digest = None;
            }
        }
    }

    fn advance_rev(&mut self, account: u32, now: u64) {
        let account = &mut self.accounts[account as usize];
        account.rev = account.next_tid(now);
        account.announced = true;
    }
}

/// A record that the stream has not sent.
fn unstreamed_record(class: RecordClass, tid: Tid, subject: u32) -> CompactRecord {
    CompactRecord {
        tid,
        subject,
        class,
        version: 0,
        subject_version: 0,
        fault: NOT_STREAMED,
    }
}

impl Post {
    fn plain(author: u32, tid: Tid, lang: LanguageId) -> Self {
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
            deleted: false,
            digest: None,
        }
    }
}

/// The rate at a time of day relative to the mean: highest at 20:00 UTC, lowest at 8:00.
fn daily_factor(now: u64) -> f64 {
    let turn = (now % DAY) as f64 / DAY as f64;
    1.0 + 0.35 * (std::f64::consts::TAU * (turn - 14.0 / 24.0)).sin()
}
