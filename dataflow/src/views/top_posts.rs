//! `top_posts`: the best posts by each tally, window and language.
//!
//! ```text
//! tallies of `posts`: all time; windows of hour, day, week ─ boards ── at list times ─▶ lists
//! ```
//!
//! A post's languages may come after its likes: they only decide which boards its counts are offered to. A post that
//! was seen and is not live any more (deleted, hidden) is offered to none. State: what was added to the windows, the boards;
//! the counts of each post stand in `posts`.

use std::cmp::Reverse;

use hashbrown::HashMap;
use skytide_core::record::{Lang, Langs};
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::posts::{State, States, TALLIES};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::top_candidates::{Family, OVERALL, TopCandidates};
use crate::operators::windows::Windows;

/// The number of a set of languages; 0: none.
pub(super) type LangSet = u32;

/// Everything of `top_posts` but what is known of the posts.
#[derive(Debug)]
pub(super) struct TopPosts {
    /// Sets of languages, each once: few distinct ones are used by many posts.
    lang_sets: Interner<Vec<Lang>>,
    /// All but all time.
    pub(super) windows: Windows<(u32, Measure)>,
    boards: TopCandidates<u32>,
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
            lang_sets,
            windows: Windows::new(&[Window::Hour, Window::Day, Window::Week]),
            boards: TopCandidates::default(),
            langs_before: HashMap::new(),
        }
    }
}

impl TopPosts {
    /// The number of a set of languages.
    pub fn lang_set(&mut self, langs: Langs) -> LangSet {
        let mut langs: Vec<Lang> = langs.iter().collect();
        langs.sort_unstable();
        self.lang_sets.number(&langs)
    }

    /// Gives a post other languages.
    pub fn change_langs(&mut self, number: u32, langs: &mut LangSet, new: LangSet) {
        let old = std::mem::replace(langs, new);
        // Without languages it was on no board that it could have to leave.
        if old != new && old != LangSet::default() {
            self.langs_before.entry(number).or_insert(old);
        }
    }

    /// Offers the tallies of a post that `changed`, a bit each, to the boards; answers those that are more than zero now.
    pub fn settle(&mut self, number: u32, states: &States, changed: u8) -> u8 {
        let state = &states.posts[number];
        let (langs, mut offered) = (state.langs(), state.offered());
        let before = self.langs_before.remove(&number).unwrap_or(langs);
        for &measure in &Measure::ALL[..TALLIES] {
            let bit = 1 << measure as u8;
            if changed & bit == 0 {
                continue;
            }
            let values = match state.is_listed() {
                true => states.values(number, measure),
                false => [0; 4],
            };
            let is_zero = values == [0; 4];
            let is_new = offered & bit == 0;
            if !(is_new && is_zero) {
                self.offer(measure, (number, is_new), values, (before, langs));
            }
            offered = if is_zero {
                offered & !bit
            } else {
                offered | bit
            };
        }
        offered
    }

    fn offer(
        &mut self,
        measure: Measure,
        (post, is_new): (u32, bool),
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
        boards.offer(family(OVERALL), (post, is_new), values);
        let (old, new) = (lang_sets.key(old), lang_sets.key(new));
        for &lang in old.iter().filter(|lang| !new.contains(lang)) {
            boards.offer(family(Some(lang)), (post, is_new), [0; 4]);
        }
        for &lang in new {
            let is_new = is_new || !old.contains(&lang);
            boards.offer(family(Some(lang)), (post, is_new), values);
        }
    }

    /// Tells this worker's lists that may have changed.
    pub fn lists(&mut self, states: &States, worker: usize, output: &mut Vec<Output>) {
        let Self {
            boards, lang_sets, ..
        } = self;
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            let belongs = |state: &State| {
                let langs = || lang_sets.key(state.langs());
                let of_lang = family.lang.is_none_or(|lang| langs().contains(&lang));
                of_lang && state.is_listed()
            };
            let count = |post: u32| states.values(post, family.measure)[window as usize];
            let counted = states.posts.iter();
            let counted = counted.map(|(post, _, state)| (post, count(post), state));
            let counted = counted.filter(|(_, count, state)| *count > 0 && belongs(state));
            found.extend(counted.map(|(post, count, _)| (post, count)));
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |post: u32| states.posts.key(post);
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        boards.take_changed(all, order, |family, window, best| {
            let Family { view, measure, .. } = family;
            let lang = family.lang_tag().into();
            let longer = window.longer().unwrap_or(Window::All) as usize;
            let longer = |post: u32| states.values(post, measure)[longer];
            let entries = best.iter().map(|&(post, value)| ListEntry {
                key: states.posts.key(post).to_string().into(),
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
        });
    }
}
