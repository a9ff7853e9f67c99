//! `top_posts`: the best posts by each tally, window and language.
//!
//! ```text
//! likes, reposts, replies, quotes ─ (post, tally, minute) ─┐
//! posts ─ its languages, that it was seen ─────────────────┴─exchange by post─▶ windows of (post, tally)
//!                                                                              └─ boards ── at list times ─▶ lists
//! ```
//!
//! A post's languages may come after its likes: they only decide which boards its counts are offered to. A post that
//! was seen and is not live any more (deleted, hidden) is offered to none. State: the windows, 12 bytes for each post
//! referred to or seen, the boards.

use std::cmp::Reverse;

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::vec::Map;

use crate::fact::{Fact, Subject};
use crate::operators::boards::{Boards, Family, OVERALL};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::on_tick::on_tick;
use crate::operators::windows::Windows;
use crate::types::{Clocks, Facts, Time};

/// Something that changes the place of a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Told {
    /// Somebody did something to it.
    Tally(Measure, Minute, i32),
    /// Its record with these primary languages came (+1) or went (-1).
    Record(Vec<Box<str>>, i32),
    /// It existed.
    Seen,
}

/// This worker's lists.
pub fn top_posts<'s>(
    facts: Facts<'s>,
    clocks: Clocks<'s>,
    worker: usize,
) -> StreamVec<'s, Time, Output> {
    let told = facts.flat_map(|(fact, _time, diff)| {
        let mut told = Vec::new();
        tell(&fact, diff, |post, what| told.push((post, what)));
        told
    });

    let by_post = Exchange::new(|(post, _): &(PostKey, Told)| post.hashed());
    let mut posts = TopPosts::default();
    on_tick(
        "TopPosts",
        (told, by_post),
        clocks,
        move |(_time, clock), told, output| {
            posts.advance(clock.now.minute());
            for (post, told) in told {
                posts.apply(&post, told);
            }
            posts.settle();
            if clock.lists {
                posts.lists(worker, output);
            }
        },
    )
}

fn tell(fact: &Fact, diff: i32, mut tell: impl FnMut(PostKey, Told)) {
    let mut tally = |subject: Option<&Subject>, measure, minute| {
        if let Some(post) = subject.and_then(Subject::post) {
            tell(post.clone(), Told::Tally(measure, minute, diff));
        }
    };
    match fact {
        Fact::Like(act) => tally(act.subject.as_ref(), Measure::Likes, act.first_seen),
        Fact::Repost(act) => tally(act.subject.as_ref(), Measure::Reposts, act.first_seen),
        Fact::Post(post) => {
            tally(post.parent.as_ref(), Measure::Replies, post.first_seen);
            tally(post.root.as_ref(), Measure::RootReplies, post.first_seen);
            tally(post.quote.as_ref(), Measure::Quotes, post.first_seen);
            tell(post.key.clone(), Told::Record(post.primary_langs(), diff));
        }
        Fact::BarePost(post) => tell(post.clone(), Told::Record(Vec::new(), diff)),
        Fact::Seen(post) => tell(post.clone(), Told::Seen),
        _ => {}
    }
}

/// The tallies of a post: the measures 0 to 4.
fn tallies() -> &'static [Measure] {
    Measure::of(ViewId::TopPosts)
}

#[derive(Debug)]
struct TopPosts {
    posts: Interner<PostKey>,
    states: Vec<State>,
    langs: Interner<Box<str>>,
    /// Sets of languages, each once: few distinct ones are used by many posts.
    lang_sets: Interner<Vec<u32>>,
    windows: Windows<(u32, Measure)>,
    boards: Boards<u32>,
    /// Posts changed in the running time: which tallies (one bit each), and the languages before.
    touched: HashMap<u32, (u8, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    live: i32,
    seen: bool,
    lang_set: u32,
}

/// The empty set of languages.
const NO_LANGS: u32 = 0;
const ALL_TALLIES: u8 = 0b1_1111;

impl Default for TopPosts {
    fn default() -> Self {
        let mut lang_sets = Interner::default();
        assert_eq!(
            lang_sets.number(&Vec::new()),
            NO_LANGS,
            "the empty set has the first number"
        );
        Self {
            posts: Interner::default(),
            states: Vec::new(),
            langs: Interner::default(),
            lang_sets,
            windows: Windows::new(&Window::ALL),
            boards: Boards::default(),
            touched: HashMap::new(),
        }
    }
}

impl TopPosts {
    fn advance(&mut self, now: Minute) {
        let Self {
            windows,
            touched,
            states,
            ..
        } = self;
        windows.advance(now, |changed| touch(touched, states, changed.key));
    }

    fn apply(&mut self, post: &PostKey, told: Told) {
        let number = self.posts.number(post);
        let place = number as usize;
        if self.states.len() <= place {
            let new = State {
                live: 0,
                seen: false,
                lang_set: NO_LANGS,
            };
            self.states.resize(place + 1, new);
        }
        match told {
            Told::Tally(measure, minute, diff) => {
                let Self {
                    windows,
                    touched,
                    states,
                    ..
                } = self;
                windows.add(((number, measure), minute), diff, |changed| {
                    touch(touched, states, changed.key);
                });
                // A tally that fell into no window still made the post known: let it be forgotten again.
                touched.entry(number).or_insert((0, states[place].lang_set));
            }
            Told::Record(langs, diff) => {
                let set = self.lang_set(&langs);
                let state = &mut self.states[place];
                let touched = self.touched.entry(number).or_insert((0, state.lang_set));
                touched.0 = ALL_TALLIES;
                state.live += diff;
                if diff > 0 {
                    state.lang_set = set;
                } else if state.live == 0 {
                    state.lang_set = NO_LANGS;
                }
            }
            Told::Seen => {
                let state = &mut self.states[place];
                let touched = self.touched.entry(number).or_insert((0, state.lang_set));
                touched.0 = ALL_TALLIES;
                state.seen = true;
            }
        }
    }

    fn lang_set(&mut self, langs: &[Box<str>]) -> u32 {
        let mut numbers: Vec<u32> = langs.iter().map(|lang| self.langs.number(lang)).collect();
        numbers.sort_unstable();
        self.lang_sets.number(&numbers)
    }

    /// Offers what changed to the boards; forgets posts that nothing is known of any more.
    fn settle(&mut self) {
        for (number, (tallies_changed, langs_before)) in std::mem::take(&mut self.touched) {
            let state = self.states[number as usize];
            let listed = state.live > 0 || !state.seen;
            for (bit, &measure) in tallies().iter().enumerate() {
                if tallies_changed >> bit & 1 == 1 {
                    let counts = self.windows.counts((number, measure));
                    let values = if listed { counts } else { [0; 4] };
                    self.offer((number, measure), values, (langs_before, state.lang_set));
                }
            }
            let count = |&measure: &Measure| self.windows.count(Window::All, (number, measure));
            if state.live == 0 && !state.seen && tallies().iter().all(|m| count(m) == 0) {
                self.posts.release(number);
            }
        }
    }

    fn offer(&mut self, (post, measure): (u32, Measure), values: [u32; 4], (old, new): (u32, u32)) {
        let Self {
            boards, lang_sets, ..
        } = self;
        let family = |lang| Family {
            view: ViewId::TopPosts,
            measure,
            lang,
        };
        boards.offer(family(OVERALL), post, values);
        let new = lang_sets.key(new);
        for &lang in lang_sets.key(old).iter().filter(|lang| !new.contains(lang)) {
            boards.offer(family(lang), post, [0; 4]);
        }
        for &lang in new {
            boards.offer(family(lang), post, values);
        }
    }

    fn lists(&mut self, worker: usize, output: &mut Vec<Output>) {
        let Self {
            boards,
            posts,
            states,
            langs,
            lang_sets,
            windows,
            ..
        } = self;
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            for (&(post, measure), &count) in windows.sums(window).into_iter().flatten() {
                let state = states[post as usize];
                let of_lang =
                    family.lang == OVERALL || lang_sets.key(state.lang_set).contains(&family.lang);
                if measure == family.measure && of_lang && (state.live > 0 || !state.seen) {
                    found.push((post, count.unsigned_abs()));
                }
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            (Reverse(a.1), posts.key(a.0)).cmp(&(Reverse(b.1), posts.key(b.0)))
        };
        boards.take_changed(
            all,
            order,
            |Family {
                 view,
                 measure,
                 lang,
             },
             window,
             best| {
                let lang = match lang {
                    OVERALL => "".into(),
                    lang => langs.key(lang).clone(),
                };
                let entries = best.iter().map(|&(post, value)| {
                    let longer = windows.counts((post, measure));
                    ListEntry {
                        key: posts.key(post).to_string().into(),
                        value,
                        other: 0,
                        longer: longer[window.longer().unwrap_or(window) as usize],
                    }
                });
                let entries = entries.collect();
                let key = ListKey {
                    window,
                    measure,
                    lang,
                };
                output.push(Output::List(WorkerList {
                    view,
                    key,
                    worker,
                    entries,
                }));
            },
        );
    }
}

fn touch(touched: &mut HashMap<u32, (u8, u32)>, states: &[State], (post, tally): (u32, Measure)) {
    let touched = touched
        .entry(post)
        .or_insert((0, states[post as usize].lang_set));
    touched.0 |= 1 << tally as u8;
}
