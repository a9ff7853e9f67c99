//! `posts`: the tallies of every post, of all time; and `top_posts`, the best of them, which is counted beside.
//!
//! ```text
//! facts ─ (post, what is told of it) ──exchange by post──▶ tallies ─▶ rows of `posts`
//!                                                          └─ windows, boards ── at list times ─▶ lists of `top_posts`
//! ```
//!
//! State: per post that is known 12 counters and its languages, 56 bytes, and its key. A post is forgotten when all counters are
//! zero, which for one that was once seen is never. For `top_posts` see there.
//!
//! It was an arrangement of differential before: why it is not, and what was measured, stands in
//! `docs/decisions/0002-dataflow.md`.

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::time::Minute;
use skytide_core::view::{Measure, PostRow, PostState, ViewId};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::top_posts::{LangSet, TopPosts};
use crate::fact::{Act, Fact, Post, Subject};
use crate::operators::interner::Interner;
use crate::operators::lists::Output;
use crate::operators::of_facts::of_facts;
use crate::operators::on_tick::on_tick;
use crate::types::{Clocks, Facts, Quiet, Row, Time};

/// Something that is told of a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    post: PostKey,
    what: What,
    diff: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum What {
    /// A record refers to it.
    Tally(Reference),
    /// Its record with these primary languages came or went.
    Record(Box<[Box<str>]>),
    /// It came to exist.
    Seen,
}

/// A record that refers to a post.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reference {
    measure: Measure,
    /// The record is the post's author's.
    by_author: bool,
    first_seen: Minute,
}

/// Which of the two views are wanted.
#[derive(Clone, Copy, Debug)]
pub struct PostViews {
    /// `posts`.
    pub rows: bool,
    /// `top_posts`.
    pub lists: bool,
}

/// Rows of `posts` and this worker's lists of `top_posts`.
pub fn posts<'s>(
    facts: Facts<'s>,
    clocks: Clocks<'s>,
    (worker, wanted): (usize, PostViews),
    quiet: Quiet,
) -> StreamVec<'s, Time, Output> {
    let told = of_facts(facts, "OfPosts", |fact, (_time, diff), told| {
        tell(fact, |post, what| told.push(Told { post, what, diff }));
    });

    let by_post = Exchange::new(|told: &Told| told.post.hashed());
    let mut posts = Posts {
        top: wanted.lists.then(TopPosts::default),
        ..Posts::default()
    };
    on_tick(
        "Posts",
        (told, by_post),
        clocks,
        move |(time, clock), told, output| {
            let tells = wanted.rows && quiet.tells(ViewId::Posts, time);
            posts.noted = tells.then(HashMap::new);
            posts.advance(clock.now.minute());
            for told in told {
                posts.apply(told);
            }
            posts.tell_rows(time, output);
            if clock.lists || posts.top.is_none() {
                posts.settle();
            }
            if let (true, Some(top)) = (clock.lists, &mut posts.top) {
                top.lists((&posts.keys, &posts.states), worker, output);
            }
        },
    )
}

fn tell(fact: &Fact, mut tell: impl FnMut(PostKey, What)) {
    match fact {
        Fact::Like(act) => acted(act, Measure::Likes, &mut tell),
        Fact::Repost(act) => acted(act, Measure::Reposts, &mut tell),
        Fact::Post(post) => {
            for (to, measure) in [
                (&post.parent, Measure::Replies),
                (&post.root, Measure::RootReplies),
                (&post.quote, Measure::Quotes),
            ] {
                refers(post, to.as_ref(), measure, &mut tell);
            }
            let langs = post.primary_langs().into();
            tell(post.key.clone(), What::Record(langs));
        }
        Fact::BarePost(post) => tell(post.clone(), What::Record(Box::default())),
        Fact::Seen(post) => tell(post.clone(), What::Seen),
        _ => {}
    }
}

fn acted(act: &Act, measure: Measure, tell: &mut impl FnMut(PostKey, What)) {
    if let Some(post) = act.subject.as_ref().and_then(Subject::post) {
        let reference = Reference {
            measure,
            by_author: post.did() == act.author,
            first_seen: act.first_seen,
        };
        tell(post.clone(), What::Tally(reference));
    }
}

fn refers(by: &Post, to: Option<&Subject>, measure: Measure, tell: &mut impl FnMut(PostKey, What)) {
    if let Some(post) = to.and_then(Subject::post) {
        let reference = Reference {
            measure,
            by_author: post.did() == by.key.did(),
            first_seen: by.first_seen,
        };
        tell(post.clone(), What::Tally(reference));
    }
}

/// How many tallies a post has: the measures 0 to 4.
pub(super) const TALLIES: usize = 5;

/// Counters of a post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tallies {
    /// In the order of [`Measure`].
    all: [i32; TALLIES],
    /// Those of them by its author.
    own: [i32; TALLIES],
    /// 1 while its record is live.
    live: i32,
    /// How often it came to exist.
    seen: i32,
}

/// What is known of a post.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    tallies: Tallies,
    pub(super) langs: LangSet,
    /// It was touched since the boards were last told, and which tallies of it changed in some window: a bit each.
    touched: bool,
    pub(super) changed: u8,
}

#[derive(Default)]
struct Posts {
    keys: Interner<PostKey>,
    /// By the number of the key.
    states: Vec<State>,
    top: Option<TopPosts>,
    /// Posts touched since the boards were last told: that is done at list times only.
    touched: Vec<u32>,
    /// The tallies before of posts touched in the running time, if rows are told.
    noted: Option<HashMap<u32, Tallies>>,
}

impl Posts {
    fn advance(&mut self, now: Minute) {
        let Self {
            top,
            states,
            touched,
            ..
        } = self;
        let Some(top) = top else {
            return;
        };
        top.windows.advance(now, |changed| {
            let (number, measure) = changed.key;
            states[number as usize].touch((number, 1 << measure as u8), touched);
        });
    }

    fn apply(&mut self, told: Vec<Told>) {
        let numbers = self.keys.number_all(told.iter().map(|told| &told.post));
        let known = numbers.iter().max().map_or(0, |last| *last as usize + 1);
        if self.states.len() < known {
            self.states.resize(known, State::default());
        }
        let mut tallied = Vec::with_capacity(told.len());
        for (number, Told { what, diff, .. }) in numbers.into_iter().zip(told) {
            self.apply_one((number, what), diff, &mut tallied);
        }
        if let Some(top) = &mut self.top {
            top.windows.add_all(&tallied);
        }
    }

    fn apply_one(
        &mut self,
        (number, what): (u32, What),
        diff: i32,
        tallied: &mut Vec<((u32, Measure), Minute, i32)>,
    ) {
        let Self {
            states,
            touched,
            noted,
            top,
            ..
        } = self;
        let state = &mut states[number as usize];
        if let Some(noted) = noted {
            noted.entry(number).or_insert(state.tallies);
        }
        match what {
            What::Tally(Reference {
                measure,
                by_author,
                first_seen,
            }) => {
                state.tallies.all[measure as usize] += diff;
                state.tallies.own[measure as usize] += if by_author { diff } else { 0 };
                state.touch((number, 1 << measure as u8), touched);
                tallied.push(((number, measure), first_seen, diff));
            }
            What::Record(langs) => {
                state.touch((number, ALL_TALLIES), touched);
                state.tallies.live += diff;
                if let Some(top) = top {
                    let langs = match (diff > 0, state.tallies.live) {
                        (true, _) => top.lang_set(&langs),
                        (false, 0) => LangSet::default(),
                        (false, _) => state.langs,
                    };
                    top.change_langs(number, &mut state.langs, langs);
                }
            }
            What::Seen => {
                state.touch((number, ALL_TALLIES), touched);
                state.tallies.seen += diff;
            }
        }
    }

    /// Tells the rows that changed.
    fn tell_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let noted = self.noted.take();
        for (number, old) in noted.into_iter().flatten() {
            let new = self.states[number as usize].tallies;
            if old != new {
                let key = self.keys.key(number);
                for (tallies, diff) in [(old, -1), (new, 1)] {
                    if tallies != Tallies::default() {
                        let row = Row::new(ViewId::Posts, key, &tallies.row());
                        output.push(Output::Row((row, time, diff)));
                    }
                }
            }
        }
    }

    /// Offers what changed to the boards, forgets posts that nothing is known of any more.
    fn settle(&mut self) {
        for number in std::mem::take(&mut self.touched) {
            let state = &mut self.states[number as usize];
            state.touched = false;
            if let Some(top) = &mut self.top {
                top.settle(number, state);
            }
            if state.tallies == Tallies::default() {
                self.keys.release(number);
            }
        }
    }
}

const ALL_TALLIES: u8 = (1 << TALLIES) - 1;

impl State {
    fn touch(&mut self, (number, tallies): (u32, u8), touched: &mut Vec<u32>) {
        self.changed |= tallies;
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(number);
        }
    }

    /// A tally, of all time.
    pub(super) fn tally(&self, measure: Measure) -> u32 {
        self.tallies.all[measure as usize].unsigned_abs()
    }

    /// Whether lists may hold it: those deleted or hidden are left out, those never seen are kept.
    pub(super) fn is_listed(&self) -> bool {
        self.tallies.live > 0 || self.tallies.seen == 0
    }
}

impl Tallies {
    fn row(&self) -> PostRow {
        let count = |n: i32| u32::try_from(n).expect("a count of live records is not negative");
        let [likes, reposts, replies, root_replies, quotes] = self.all.map(count);
        let [
            self_likes,
            self_reposts,
            self_replies,
            self_root_replies,
            self_quotes,
        ] = self.own.map(count);
        PostRow {
            likes,
            reposts,
            replies,
            root_replies,
            quotes,
            self_likes,
            self_reposts,
            self_replies,
            self_root_replies,
            self_quotes,
            state: match (self.live, self.seen) {
                (0, 0) => PostState::NeverSeen,
                (0, _) => PostState::Gone,
                _ => PostState::Live,
            },
        }
    }
}

const _: () = assert!(size_of::<State>() == 56, "there is one for each post");
