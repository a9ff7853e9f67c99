//! `posts`: the tallies of every post, of all time; and `top_posts`, the best of them, which is counted beside.
//!
//! ```text
//! facts ─ (post, what is told of it) ──exchange by post──▶ tallies ─▶ rows of `posts`
//!                                                          └─ windows, boards ── at list times ─▶ lists of `top_posts`
//! ```
//!
//! State: per post that is known 64 bytes, a line of the cache: its key, its likes of all time and in three windows,
//! its languages; 80 more if it has other tallies. A post is forgotten when all counters are zero, which for one that was
//! once seen is never. For `top_posts` see there.
//!
//! It was an arrangement of differential before: why it is not, and what was measured, stands in
//! `docs/decisions/0002-dataflow.md`.

use std::ops::Range;

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::record::Langs;
use skytide_core::time::Minute;
use skytide_core::view::{Measure, PostRow, PostState, ViewId};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::changes::emit_change;
use super::top_posts::{LangSet, TopPosts};
use crate::fact::{Act, Fact, Post, Subject};
use crate::operators::count::{Carries, shown};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::{Entry, Interner};
use crate::operators::lists::Output;
use crate::operators::on_tick::on_tick;
use crate::operators::slab::{Place, Slab};
use crate::types::{Clocks, Facts, SuppressedRows, Time};

/// Something that is told of a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    post: PostKey,
    what: What,
    diff: i32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A record refers to it.
    Tally(Reference),
    /// Its record with these primary languages came or went.
    Record(Langs),
    /// It came to exist.
    Seen,
}

/// A record that refers to a post.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Reference {
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
    suppressed: SuppressedRows,
) -> StreamVec<'s, Time, Output> {
    let told = flat_map_facts(facts, "OfPosts", |fact, (_time, diff), told| {
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
            let tells = wanted.rows && suppressed.emits(ViewId::Posts, time);
            posts.noted = tells.then(HashMap::new);
            posts.states.advance(clock.now.minute(), &mut posts.top);
            for told in told {
                posts.apply(told);
            }
            posts.tell_rows(time, output);
            if clock.lists || posts.top.is_none() {
                posts.settle();
            }
            if let (true, Some(top)) = (clock.lists, &mut posts.top) {
                top.lists(&posts.states, worker, output);
            }
        },
    )
}

pub(super) fn tell(fact: &Fact, mut tell: impl FnMut(PostKey, What)) {
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
            tell(post.key.clone(), What::Record(post.primary_langs()));
        }
        Fact::BarePost(post) => tell(post.clone(), What::Record(Langs::default())),
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
struct Tallies {
    /// In the order of [`Measure`].
    all: [i64; TALLIES],
    /// Those of them by its author.
    own: [i64; TALLIES],
    /// 1 while its record is live.
    live: i32,
    /// How often it came to exist.
    seen: i32,
}

/// One of them: all records, those by the post's author, and, if there are lists, those in the windows of an hour, a day and
/// a week.
type Tally = [i32; 5];
const ALL: usize = 0;
const OWN: usize = 1;
const WINDOWS: Range<usize> = 2..5;

/// A count of a post, for the few that leave 32 bits.
type CountKey = (u32, Measure, u8);

/// What is known of a post.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    likes: Tally,
    live: i32,
    seen: i32,
    langs: LangSet,
    /// Its other tallies, if it has any.
    others: Place,
    /// It was touched since the boards were last told, and which tallies of it changed in some window: a bit each.
    touched: bool,
    changed: u8,
    /// Which tallies were more than zero when the boards were last told of them, a bit each: others are on no board.
    offered: u8,
}

#[derive(Default)]
struct Posts {
    states: States,
    top: Option<TopPosts>,
    /// The tallies before of posts touched in the running time, if rows are told.
    noted: Option<HashMap<u32, Tallies>>,
}

/// What is known of all posts.
#[derive(Default)]
pub(super) struct States {
    pub(super) posts: Interner<PostKey, State>,
    /// The tallies but likes, of posts that have any.
    others: Slab<[Tally; TALLIES - 1]>,
    /// What 32 bits do not hold of the counts of all tallies.
    carries: Carries<CountKey>,
    /// Posts touched since the boards were last told: that is done at list times only.
    touched: Vec<u32>,
}

impl States {
    fn advance(&mut self, now: Minute, top: &mut Option<TopPosts>) {
        if let Some(top) = top {
            top.windows.advance(now, |(number, measure), windows| {
                self.add((number, measure), (0, 0), windows);
            });
        }
    }

    /// The state of a post some `tallies` of which change, a bit each.
    fn touch(&mut self, number: u32, tallies: u8) -> &mut State {
        let state = &mut self.posts[number];
        state.changed |= tallies;
        if !std::mem::replace(&mut state.touched, true) {
            self.touched.push(number);
        }
        state
    }

    /// Adds to a tally; `windows` in the order of `Window::ALL`.
    fn add(
        &mut self,
        (number, measure): (u32, Measure),
        (all, own): (i32, i32),
        [hour, day, week, _all]: [i32; 4],
    ) {
        self.touch(number, 1 << measure as u8);
        let state = &mut self.posts[number];
        let tally = match (measure as usize).checked_sub(1) {
            None => &mut state.likes,
            Some(other) => &mut self.others.at_mut(&mut state.others)[other],
        };
        let diffs = [all, own, hour, day, week];
        for ((part, count), diff) in tally.iter_mut().enumerate().zip(diffs) {
            let key = || (number, measure, part as u8);
            self.carries.add(count, diff.into(), key);
        }
    }

    /// A tally as it is.
    fn tally_of(&self, number: u32, measure: Measure) -> [i64; 5] {
        let state = &self.posts[number];
        let tally = match (measure as usize).checked_sub(1) {
            None => state.likes,
            Some(other) => self.others.at(state.others).map_or([0; 5], |it| it[other]),
        };
        let key = |part: usize| (number, measure, part as u8);
        std::array::from_fn(|part| self.carries.value(tally[part], || key(part)))
    }

    fn tallies(&self, number: u32) -> Tallies {
        let state = &self.posts[number];
        let all: [[i64; 5]; TALLIES] =
            std::array::from_fn(|place| self.tally_of(number, Measure::ALL[place]));
        Tallies {
            all: all.map(|tally| tally[ALL]),
            own: all.map(|tally| tally[OWN]),
            live: state.live,
            seen: state.seen,
        }
    }

    /// A tally of a post in the four windows.
    pub(super) fn values(&self, number: u32, measure: Measure) -> [u32; 4] {
        let tally = self.tally_of(number, measure);
        let [hour, day, week] = [0, 1, 2].map(|window| tally[WINDOWS.start + window]);
        [hour, day, week, tally[ALL]].map(shown)
    }

    /// Whether any counter is not zero. To be asked when the windows slid: what counts in one counts of all time.
    fn is_known(&self, number: u32) -> bool {
        let state = &self.posts[number];
        let counted = state.others.is_taken() || state.likes != Tally::default();
        let lives = (state.live, state.seen) != (0, 0);
        counted || lives || self.carries.any(|(of, ..)| *of == number)
    }

    /// Ends a change: answers which tallies changed, a bit each. Gives back room for tallies that came to nothing.
    fn settle(&mut self, number: u32) -> u8 {
        let state = &mut self.posts[number];
        state.touched = false;
        self.others.tidy(&mut state.others);
        std::mem::take(&mut state.changed)
    }
}

impl Posts {
    fn apply(&mut self, told: Vec<Told>) {
        let posts = told.iter().map(|told| &told.post);
        let numbers = self.states.posts.number_all(posts);
        for (number, Told { what, diff, .. }) in numbers.into_iter().zip(told) {
            self.apply_one(number, what, diff);
        }
    }

    fn apply_one(&mut self, number: u32, what: What, diff: i32) {
        let states = &mut self.states;
        if let Some(noted) = &mut self.noted {
            noted
                .entry(number)
                .or_insert_with(|| states.tallies(number));
        }
        match what {
            What::Tally(Reference {
                measure,
                by_author,
                first_seen,
            }) => {
                let counted = ((number, measure), first_seen);
                let windows = match &mut self.top {
                    Some(top) => top.windows.enter(counted, diff),
                    None => [0; 4],
                };
                let own = if by_author { diff } else { 0 };
                states.add((number, measure), (diff, own), windows);
            }
            What::Record(langs) => {
                let state = states.touch(number, ALL_TALLIES);
                state.live += diff;
                if let Some(top) = &mut self.top {
                    let langs = match (diff > 0, state.live) {
                        (true, _) => top.lang_set(langs),
                        (false, 0) => LangSet::default(),
                        (false, _) => state.langs,
                    };
                    top.change_langs(number, &mut state.langs, langs);
                }
            }
            What::Seen => {
                // It is never taken back, so a post that is written and deleted for ever may come to the end.
                let seen = &mut states.touch(number, ALL_TALLIES).seen;
                *seen = seen.saturating_add(diff);
            }
        }
    }

    /// Tells the rows that changed.
    fn tell_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let noted = self.noted.take();
        for (number, old) in noted.into_iter().flatten() {
            let change = (old, self.states.tallies(number));
            let key = self.states.posts.key(number);
            emit_change((ViewId::Posts, time), key, change, Tallies::row, output);
        }
    }

    /// Offers what changed to the boards, forgets posts that nothing is known of any more.
    fn settle(&mut self) {
        for number in std::mem::take(&mut self.states.touched) {
            let changed = self.states.settle(number);
            if let Some(top) = &mut self.top {
                let offered = top.settle(number, &self.states, changed);
                self.states.posts[number].offered = offered;
            }
            if !self.states.is_known(number) {
                self.states.posts.release(number);
            }
        }
    }
}

const ALL_TALLIES: u8 = (1 << TALLIES) - 1;

impl State {
    /// Whether lists may hold it: those deleted or hidden are left out, those never seen are kept.
    pub(super) fn is_listed(&self) -> bool {
        self.live > 0 || self.seen == 0
    }

    /// The tallies that were more than zero when the boards were last told of them.
    pub(super) fn offered(&self) -> u8 {
        self.offered
    }

    /// Its languages.
    pub(super) fn langs(&self) -> LangSet {
        self.langs
    }
}

impl Tallies {
    fn row(&self) -> PostRow {
        let [likes, reposts, replies, root_replies, quotes] = self.all.map(shown);
        let [
            self_likes,
            self_reposts,
            self_replies,
            self_root_replies,
            self_quotes,
        ] = self.own.map(shown);
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

const _: () = assert!(
    size_of::<Entry<PostKey, State>>() == 64,
    "there is one for each post: a line of the cache"
);
