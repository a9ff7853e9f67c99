//! `top_posts`: the best posts by each tally, window and language.
//!
//! ```text
//! tallies of `posts` ─┬─ (post, tally, minute) ─▶ windows of hour, day, week
//!                     └─ all time                  └─ boards ── at list times ─▶ lists
//! ```
//!
//! A post's languages may come after its likes: they only decide which boards its counts are offered to. A post that
//! was seen and is not live any more (deleted, hidden) is offered to none. State: the windows, the boards; what is known of
//! each post stands in `posts`.

use std::cmp::Reverse;

use hashbrown::HashMap;
use skytide_core::id::PostKey;
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::posts::{State, TALLIES};
use crate::operators::boards::{Boards, Family, OVERALL};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::windows::{Place, Table, Windows};

/// The number of a set of languages; 0: none.
pub(super) type LangSet = u32;

/// The tallies of posts in the windows of an hour, a day and a week.
type TallyTable = Table<Measure, TALLIES, 0, 3>;

/// Tallies are the first measures.
impl Place for Measure {
    const ALL: &'static [Self] = Self::ALL;

    fn place(self) -> usize {
        self as usize
    }
}

/// Everything of `top_posts` but what is known of the posts.
#[derive(Debug)]
pub(super) struct TopPosts {
    langs: Interner<Box<str>>,
    /// Sets of languages, each once: few distinct ones are used by many posts.
    lang_sets: Interner<Vec<u32>>,
    /// All but all time.
    pub(super) windows: Windows<(u32, Measure), TallyTable>,
    boards: Boards<u32>,
    /// The languages before of posts whose languages changed since the boards were last told.
    langs_before: HashMap<u32, LangSet>,
}

impl Default for TopPosts {
    fn default() -> Self {
        let mut lang_sets = Interner::default();
        assert_eq!(
            lang_sets.number(&Vec::new()),
            LangSet::default(),
            "the empty set has the first number"
        );
        Self {
            langs: Interner::default(),
            lang_sets,
            windows: Windows::new(&[Window::Hour, Window::Day, Window::Week]),
            boards: Boards::default(),
            langs_before: HashMap::new(),
        }
    }
}

impl TopPosts {
    /// The number of a set of languages.
    pub fn lang_set(&mut self, langs: &[Box<str>]) -> LangSet {
        let mut numbers: Vec<u32> = langs.iter().map(|lang| self.langs.number(lang)).collect();
        numbers.sort_unstable();
        self.lang_sets.number(&numbers)
    }

    /// Gives a post other languages.
    pub fn change_langs(&mut self, number: u32, langs: &mut LangSet, new: LangSet) {
        let old = std::mem::replace(langs, new);
        if old != new {
            self.langs_before.entry(number).or_insert(old);
        }
    }

    /// Offers what changed of a post to the boards.
    pub fn settle(&mut self, number: u32, state: &mut State) {
        let before = self.langs_before.remove(&number).unwrap_or(state.langs);
        let changed = std::mem::take(&mut state.changed);
        for &measure in &Measure::ALL[..TALLIES] {
            if changed >> measure as u8 & 1 == 1 {
                let values = match state.is_listed() {
                    true => self.values((number, measure), state),
                    false => [0; 4],
                };
                self.offer((number, measure), values, (before, state.langs));
            }
        }
    }

    /// A tally in the four windows.
    fn values(&self, (number, measure): (u32, Measure), state: &State) -> [u32; 4] {
        let [hour, day, week, _] = self.windows.counts((number, measure));
        [hour, day, week, state.tally(measure)]
    }

    fn offer(
        &mut self,
        (post, measure): (u32, Measure),
        values: [u32; 4],
        (old, new): (LangSet, LangSet),
    ) {
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

    /// Tells this worker's lists that may have changed.
    pub fn lists(
        &mut self,
        (posts, states): (&Interner<PostKey>, &[State]),
        worker: usize,
        output: &mut Vec<Output>,
    ) {
        let Self {
            boards,
            langs,
            lang_sets,
            windows,
            ..
        } = self;
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            let belongs = |state: &State| {
                let of_lang =
                    family.lang == OVERALL || lang_sets.key(state.langs).contains(&family.lang);
                of_lang && state.is_listed()
            };
            if window == Window::All {
                let counted = (0_u32..)
                    .zip(states)
                    .map(|(post, state)| (post, state.tally(family.measure), state))
                    .filter(|(_, count, state)| *count > 0 && belongs(state));
                found.extend(counted.map(|(post, count, _)| (post, count)));
            } else {
                let counted = windows.all(window).filter(|((post, measure), _)| {
                    *measure == family.measure && belongs(&states[*post as usize])
                });
                found.extend(counted.map(|((post, _), count)| (post, count)));
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
                let longer = |post: u32| match window.longer() {
                    Some(Window::All) | None => states[post as usize].tally(measure),
                    Some(longer) => windows.counts((post, measure))[longer as usize],
                };
                let entries = best.iter().map(|&(post, value)| ListEntry {
                    key: posts.key(post).to_string().into(),
                    value,
                    other: 0,
                    longer: longer(post),
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
