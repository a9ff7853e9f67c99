//! `hashtags`, `domains`, `links`, `mentions`, `languages`: the number of posts and of distinct
//! authors of each key, by window, overall and per language. All of these views except `languages`
//! also have top lists.
//!
//! A *key* is what a post contains: a hashtag, a host, a URL, a mentioned account or a language.
//!
//! ```text
//! posts ─ (view, key, language), author, minute ──exchange by key──▶ windows of (key, author)
//!                               ┌───────────────────────────────────────┘
//!                               ├─ sum of all pairs of a key ─────────────▶ posts   ─▶ rows
//!                               ├─ number of its pairs with posts ────────▶ authors ─▶ rows
//!                               └─ candidates ─ when lists are written ────▶ lists
//! ```
//!
//! State: the windows of (key, author) pairs, the counts of each key, and the candidates of the top
//! lists. A post leaves all windows by retraction and a limited one by age. A key without posts is
//! removed.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::record::Lang;
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, TrendKey, TrendRow, ViewId, Window};
use timely::dataflow::channels::pact::Exchange;

use super::changes::RowChange;
use crate::fact::{Fact, Post};
use crate::operators::count::{Carries, to_row_count};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::on_tick::on_tick;
use crate::operators::top_candidates::{ListFamily, TopCandidates};
use crate::operators::windows::{SumChange, WindowSums, Windows};
use crate::sizes::{COLLECTIONS, HeapSize, Sizes, StateSizes};
use crate::types::{SuppressedRows, Time, ViewInput};

/// An occurrence of a key in a post, inserted (`diff` is +1) or retracted (-1).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Occurrence {
    view: ViewId,
    key: TrendKey,
    author: Did,
    first_seen: Minute,
    diff: i32,
}

/// Computes the rows of the five views, without those that are not in `views`, and the top lists
/// of this worker.
pub fn trends<'s>(
    input: ViewInput<'s>,
    worker: usize,
    views: Vec<ViewId>,
    suppressed: SuppressedRows,
) -> timely::dataflow::StreamVec<'s, Time, Output> {
    let found = flat_map_facts(input.facts, "OfTrends", move |fact, _time, diff, output| {
        if let Fact::Post(post) = fact {
            output.extend(occurrences(post, &views, diff));
        }
    });

    let by_key = Exchange::new(|it: &Occurrence| (it.view as u8, &it.key).hashed());
    let trends = input.clocks.states.share(Trends::default());
    on_tick(
        "Trends",
        found,
        by_key,
        input.clocks,
        move |time, clock, found, output| {
            let trends = &mut *trends.borrow_mut();
            trends.advance(clock.now.minute());
            for occurrence in found.into_iter().flatten() {
                trends.add(occurrence);
            }
            trends.emit_changes(time, suppressed, output);
            if clock.lists {
                trends.emit_lists(worker, output);
            }
        },
    )
}

/// The occurrences of all keys in a post: each key overall and in each of the post's languages.
/// There are at most 1,059, because the entries and languages of a post are limited
/// (`docs/limits.md`).
pub(super) fn occurrences(post: &Post, views: &[ViewId], diff: i32) -> Vec<Occurrence> {
    let mut occurrences = Vec::new();
    let author = post.key.did();
    let mut add = |view: ViewId, key: &str, lang: &str| {
        let key = TrendKey {
            key: key.into(),
            lang: lang.into(),
        };
        let (author, first_seen) = (author.clone(), post.first_seen);
        occurrences.push(Occurrence {
            view,
            key,
            author,
            first_seen,
            diff,
        });
    };
    let langs = post.primary_langs();
    for (view, keys) in [
        (ViewId::Hashtags, &post.tags),
        (ViewId::Domains, &post.domains),
        (ViewId::Links, &post.links),
    ] {
        for key in keys.iter().filter(|_| views.contains(&view)) {
            add(view, key, "");
            langs.iter().for_each(|lang| add(view, key, lang.tag()));
        }
    }
    for mention in post
        .mentions
        .iter()
        .filter(|_| views.contains(&ViewId::Mentions))
    {
        mention.with_str(|did| {
            add(ViewId::Mentions, did, "");
            langs
                .iter()
                .for_each(|lang| add(ViewId::Mentions, did, lang.tag()));
        });
    }
    if views.contains(&ViewId::Languages) {
        for lang in post.langs.or_undetermined().iter() {
            add(ViewId::Languages, lang.tag(), "");
        }
    }
    occurrences
}

/// The state of the operator.
#[derive(Debug)]
struct Trends {
    table: KeyTable,
    authors: Interner<Did>,
    /// Occurrences by the numbers of key and author.
    windows: Windows<(u32, u32)>,
    /// For each key and author, the number of the author's posts with the key, by window.
    sums: WindowSums<(u32, u32)>,
    candidates: TopCandidates<u32>,
}

/// The keys with their counts of posts and authors.
#[derive(Debug, Default)]
struct KeyTable {
    keys: Interner<(ViewId, TrendKey), LowCounts>,
    /// The high 32 bits of counts, by key and index in [`LowCounts`].
    carries: Carries<(u32, u8)>,
    /// Keys whose counts changed at the current time, with their previous counts.
    touched: BTreeMap<u32, TrendCounts>,
}

/// The low 32 bits of the counts of a key: posts by window, then authors by window.
type LowCounts = [i32; 8];

/// The counts of a key, in the order of [`LowCounts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TrendCounts([i64; 8]);

impl Default for Trends {
    fn default() -> Self {
        Self {
            table: KeyTable::default(),
            authors: Interner::default(),
            windows: Windows::new(&Window::ALL),
            sums: WindowSums::default(),
            candidates: TopCandidates::default(),
        }
    }
}

impl StateSizes for Trends {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let mut keys = self.table.keys.size();
        keys.bytes += self.table.carries.size().bytes;
        sizes.add("trends.keys", keys, COLLECTIONS);
        sizes.add("trends.authors", self.authors.size(), COLLECTIONS);
        sizes.add("trends.windows", self.windows.size(), COLLECTIONS);
        sizes.add("trends.sums", self.sums.size(), COLLECTIONS);
        sizes.add("trends.candidates", self.candidates.size(), COLLECTIONS);
    }
}

impl HeapSize for Occurrence {
    fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.author.heap_bytes()
    }
}

impl KeyTable {
    fn apply(&mut self, change: SumChange<(u32, u32)>) {
        let SumChange {
            key: (key, _author),
            old,
            new,
        } = change;
        let previous = self.counts(key);
        self.touched.entry(key).or_insert(previous);
        let counts = &mut self.keys[key];
        for window in Window::ALL.map(|window| window as usize) {
            let (old, new) = (old[window], new[window]);
            let authors = i64::from(new > 0) - i64::from(old > 0);
            for (index, diff) in [(window, new - old), (4 + window, authors)] {
                let carry = || (key, index as u8);
                self.carries.add(&mut counts[index], diff, carry);
            }
        }
    }

    fn counts(&self, key: u32) -> TrendCounts {
        let counts = self.keys[key];
        let carry = |index: usize| (key, index as u8);
        TrendCounts(std::array::from_fn(|index| {
            self.carries.value(counts[index], || carry(index))
        }))
    }
}

impl Trends {
    fn advance(&mut self, now: Minute) {
        let Self {
            windows,
            sums,
            table,
            ..
        } = self;
        windows.advance(now, |pair, diffs| table.apply(sums.add(pair, diffs)));
    }

    fn add(&mut self, occurrence: Occurrence) {
        let Occurrence {
            view,
            key,
            author,
            first_seen,
            diff,
        } = occurrence;
        let key = self.table.keys.intern(&(view, key));
        let pair = (key, self.authors.intern(&author));
        let diffs = self.windows.enter(pair, first_seen, diff);
        self.table.apply(self.sums.add(pair, diffs));
    }

    /// Emits the rows that changed, updates the candidates of top lists with their keys, and
    /// removes keys that occur in no post any more.
    fn emit_changes(&mut self, time: Time, suppressed: SuppressedRows, output: &mut Vec<Output>) {
        for (number, old) in std::mem::take(&mut self.table.touched) {
            let new = self.table.counts(number);
            let (view, key) = self.table.keys.key(number).clone();
            if suppressed.emits(view, time) {
                let change = RowChange {
                    view,
                    time,
                    old,
                    new,
                };
                change.emit(&key, TrendCounts::row, output);
            }
            if let Some(view) = list_view(view) {
                let lang = Lang::named(&key.lang);
                let (old_row, new_row) = (old.row(), new.row());
                for measure in [Measure::Count, Measure::Authors] {
                    let family = ListFamily {
                        view,
                        measure,
                        lang,
                    };
                    let is_new = old_row.values_of(measure) == [0; 4];
                    let values = new_row.values_of(measure);
                    self.candidates.update(family, number, is_new, values);
                }
            }
            if new == TrendCounts::default() {
                self.table.keys.release(number);
            }
        }
    }

    /// Emits this worker's lists that may have changed.
    fn emit_lists(&mut self, worker: usize, output: &mut Vec<Output>) {
        let Self {
            candidates, table, ..
        } = self;
        let scan_all_keys = |family: ListFamily, window: Window, found: &mut Vec<(u32, u32)>| {
            for (number, (view, key), _) in table.keys.iter() {
                let value = table.counts(number).row().values_of(family.measure)[window as usize];
                let is_of_lang = &*key.lang == family.lang_tag();
                if list_view(*view) == Some(family.view) && is_of_lang && value > 0 {
                    found.push((number, value));
                }
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |number: u32| &table.keys.key(number).1.key;
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        candidates.take_changed(scan_all_keys, order, |family, window, best| {
            let lang = family.lang_tag().into();
            let ListFamily { view, measure, .. } = family;
            let entries = best.iter().map(|&(number, value)| {
                let row = table.counts(number).row();
                let other = match measure {
                    Measure::Count => row.authors,
                    _ => row.counts,
                };
                ListEntry {
                    key: table.keys.key(number).1.key.clone(),
                    value,
                    other: other[window as usize],
                    longer: row.values_of(measure)[window.longer().unwrap_or(window) as usize],
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
        });
    }
}

/// The view that contains the top lists of `view`; `None` if `view` has no top lists.
fn list_view(view: ViewId) -> Option<ViewId> {
    match view {
        ViewId::Hashtags => Some(ViewId::TopHashtags),
        ViewId::Domains => Some(ViewId::TopDomains),
        ViewId::Links => Some(ViewId::TopLinks),
        ViewId::Mentions => Some(ViewId::TopMentions),
        _ => None,
    }
}

impl TrendCounts {
    fn row(&self) -> TrendRow {
        let [a, b, c, d, e, f, g, h] = self.0.map(to_row_count);
        TrendRow {
            counts: [a, b, c, d],
            authors: [e, f, g, h],
        }
    }
}

/// Access to the values of a measure by window.
trait MeasureValues {
    fn values_of(&self, measure: Measure) -> [u32; 4];
}

impl MeasureValues for TrendRow {
    fn values_of(&self, measure: Measure) -> [u32; 4] {
        match measure {
            Measure::Authors => self.authors,
            _ => self.counts,
        }
    }
}
