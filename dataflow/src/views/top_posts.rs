//! `top_posts`: the posts with the highest tally, for each measure, window and language.
//!
//! ```text
//! tallies of `posts`: all time; hour, day, week ─▶ candidates ── when lists are written ─▶ lists
//! ```
//!
//! The languages of a post only decide for which lists the post is a candidate, so they may arrive
//! after its likes. A post that was seen and is no longer live (deleted or hidden) is a candidate
//! for no list.
//!
//! State: the additions to the windows, and the candidates. The tallies of each post are in the
//! table of `posts`. Posts and sets of languages are interned: `u32` identifies one.

use std::cmp::Reverse;

use hashbrown::HashMap;
use skytide_core::record::{Lang, Langs};
use skytide_core::view::{ListEntry, ListKey, Measure, ViewId, Window};

use super::post_table::{LangSet, PostEntry, PostTable, TALLIES};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::top_candidates::{ListFamily, OVERALL, TopCandidates};
use crate::operators::windows::Windows;
use crate::sizes::{COLLECTIONS, Sizes, StateSizes};

/// The state of `top_posts`, except the table of posts.
#[derive(Debug)]
pub(super) struct TopPosts {
    /// The distinct sets of languages, interned: many posts share few sets.
    lang_sets: Interner<Vec<Lang>>,
    /// Additions to the windows of an hour, a day and a week. The tallies of all time are in the
    /// table.
    pub(super) windows: Windows<(u32, Measure)>,
    candidates: TopCandidates<u32>,
    /// The previous languages of posts whose languages changed since the candidates were last
    /// updated.
    old_langs: HashMap<u32, LangSet>,
}

/// A changed tally of a post, and the languages whose lists it affects.
struct ChangedTally {
    post: u32,
    measure: Measure,
    /// Whether the post is not a candidate for this measure yet.
    is_new: bool,
    /// The tally in the four windows; all zero if no list may show the post.
    values: [u32; 4],
    old_langs: LangSet,
    new_langs: LangSet,
}

impl Default for TopPosts {
    fn default() -> Self {
        let mut lang_sets = Interner::default();
        assert_eq!(
            lang_sets.intern(&Vec::new()),
            LangSet::default(),
            "the empty set is interned first"
        );
        Self {
            lang_sets,
            windows: Windows::new(&[Window::Hour, Window::Day, Window::Week]),
            candidates: TopCandidates::default(),
            old_langs: HashMap::new(),
        }
    }
}

impl StateSizes for TopPosts {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        sizes.add("posts.windows", self.windows.size(), COLLECTIONS);
        sizes.add("posts.candidates", self.candidates.size(), COLLECTIONS);
        let mut langs = self.lang_sets.size();
        langs.bytes += self.old_langs.allocation_size();
        sizes.add("posts.lang_sets", langs, COLLECTIONS);
    }
}

impl TopPosts {
    /// Interns a set of languages.
    pub fn lang_set(&mut self, langs: Langs) -> LangSet {
        let mut langs: Vec<Lang> = langs.iter().collect();
        langs.sort_unstable();
        self.lang_sets.intern(&langs)
    }

    /// Changes the languages of a post from `langs` to `new`. Until the next update of the
    /// candidates, the languages of the last update are kept in `old_langs`.
    pub fn change_langs(&mut self, number: u32, langs: &mut LangSet, new: LangSet) {
        let old = std::mem::replace(langs, new);
        // A post without languages was a candidate for no list of a language, so it leaves none.
        if old != new && old != LangSet::default() {
            self.old_langs.entry(number).or_insert(old);
        }
    }

    /// Updates the candidates after a change of a post. `changed` is the bit set of the tallies
    /// that changed. Returns the bit set of the tallies that are above zero now.
    pub fn update(&mut self, number: u32, table: &PostTable, changed: u8) -> u8 {
        let entry = &table.posts[number];
        let mut candidate_for = entry.candidate_for;
        let new_langs = entry.langs;
        let old_langs = self.old_langs.remove(&number).unwrap_or(new_langs);
        for &measure in &Measure::ALL[..TALLIES] {
            let bit = 1 << measure as u8;
            if changed & bit == 0 {
                continue;
            }
            let values = match entry.is_listed() {
                true => table.values(number, measure),
                false => [0; 4],
            };
            let is_zero = values == [0; 4];
            let is_new = candidate_for & bit == 0;
            // A post that is not a candidate and has a zero tally stays out of the lists.
            if !(is_new && is_zero) {
                self.update_lists(ChangedTally {
                    post: number,
                    measure,
                    is_new,
                    values,
                    old_langs,
                    new_langs,
                });
            }
            candidate_for = if is_zero {
                candidate_for & !bit
            } else {
                candidate_for | bit
            };
        }
        candidate_for
    }

    /// Updates the candidates of the list of all languages, and of the lists of the post's old and
    /// new languages.
    fn update_lists(&mut self, changed: ChangedTally) {
        let Self {
            candidates,
            lang_sets,
            ..
        } = self;
        let ChangedTally {
            post,
            measure,
            is_new,
            values,
            old_langs,
            new_langs,
        } = changed;
        let family = |lang| ListFamily {
            view: ViewId::TopPosts,
            measure,
            lang,
        };
        candidates.update(family(OVERALL), post, is_new, values);
        let (old, new) = (lang_sets.key(old_langs), lang_sets.key(new_langs));
        for &lang in old.iter().filter(|lang| !new.contains(lang)) {
            candidates.update(family(Some(lang)), post, is_new, [0; 4]);
        }
        for &lang in new {
            let is_new = is_new || !old.contains(&lang);
            candidates.update(family(Some(lang)), post, is_new, values);
        }
    }

    /// Emits this worker's lists that may have changed.
    pub fn emit_lists(&mut self, table: &PostTable, worker: usize, output: &mut Vec<Output>) {
        let Self {
            candidates,
            lang_sets,
            ..
        } = self;
        let scan_all_posts = |family: ListFamily, window: Window, found: &mut Vec<(u32, u32)>| {
            let is_in_family = |entry: &PostEntry| {
                let langs = || lang_sets.key(entry.langs);
                let is_of_lang = family.lang.is_none_or(|lang| langs().contains(&lang));
                is_of_lang && entry.is_listed()
            };
            for (post, _, entry) in table.posts.iter() {
                let value = table.values(post, family.measure)[window as usize];
                if value > 0 && is_in_family(entry) {
                    found.push((post, value));
                }
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |post: u32| table.posts.key(post);
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        candidates.take_changed(scan_all_posts, order, |family, window, best| {
            let ListFamily { view, measure, .. } = family;
            let lang = family.lang_tag().into();
            let longer_window = window.longer().unwrap_or(Window::All) as usize;
            let entries = best.iter().map(|&(post, value)| ListEntry {
                key: table.posts.key(post).to_string().into(),
                value,
                other: 0,
                longer: table.values(post, measure)[longer_window],
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
