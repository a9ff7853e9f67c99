//! `hashtags`, `domains`, `links`, `mentions`, `languages`: posts and distinct authors of everything that posts hold,
//! by window, overall and per language, and the best lists of the first four.
//!
//! ```text
//! posts ─ (view, key, language), author, minute ──exchange by key──▶ windows of (key, author)
//!                                                                     ├─ sums ▶ counts, positive sums ▶ authors ─▶ rows
//!                                                                     └─ boards ── at list times ─▶ lists
//! ```
//!
//! State: the windows of (key, author) pairs, a row per key that has any post left, the boards.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::record::Lang;
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, TrendKey, TrendRow, ViewId, Window};
use timely::dataflow::channels::pact::Exchange;

use super::changes::emit_change;
use crate::fact::{Fact, Post};
use crate::operators::count::{Carries, shown};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::on_tick::on_tick;
use crate::operators::top_candidates::{Family, TopCandidates};
use crate::operators::windows::{Changed, Sums, Windows};
use crate::types::{Clocks, Facts, SuppressedRows, Time};

/// A post holds a key, or no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Occurrence {
    view: ViewId,
    key: TrendKey,
    author: Did,
    first_seen: Minute,
    diff: i32,
}

/// Rows and this worker's lists of the wanted ones of the five views.
pub fn trends<'s>(
    facts: Facts<'s>,
    clocks: Clocks<'s>,
    (worker, wanted): (usize, Vec<ViewId>),
    suppressed: SuppressedRows,
) -> timely::dataflow::StreamVec<'s, Time, Output> {
    let held = flat_map_facts(facts, "OfTrends", move |fact, (_time, diff), held| {
        if let Fact::Post(post) = fact {
            held.extend(occurrences(post, &wanted, diff));
        }
    });

    let by_key = Exchange::new(|held: &Occurrence| (held.view as u8, &held.key).hashed());
    let mut trends = Trends::default();
    on_tick(
        "Trends",
        (held, by_key),
        clocks,
        move |(time, clock), held, output| {
            trends.advance(clock.now.minute());
            for held in held.into_iter().flatten() {
                trends.add(held);
            }
            trends.settle(time, suppressed, output);
            if clock.lists {
                trends.lists(worker, output);
            }
        },
    )
}

/// Everything that a post holds: each key overall and in each of the post's languages. At most 1,059 entries,
/// as a post is within its limits.
pub(super) fn occurrences(post: &Post, wanted: &[ViewId], diff: i32) -> Vec<Occurrence> {
    let mut held = Vec::new();
    let author = post.key.did();
    let mut hold = |view: ViewId, key: &str, lang: &str| {
        let key = TrendKey {
            key: key.into(),
            lang: lang.into(),
        };
        let (author, first_seen) = (author.clone(), post.first_seen);
        held.push(Occurrence {
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
        for key in keys.iter().filter(|_| wanted.contains(&view)) {
            hold(view, key, "");
            langs.iter().for_each(|lang| hold(view, key, lang.tag()));
        }
    }
    for mention in post
        .mentions
        .iter()
        .filter(|_| wanted.contains(&ViewId::Mentions))
    {
        mention.with_str(|did| {
            hold(ViewId::Mentions, did, "");
            langs
                .iter()
                .for_each(|lang| hold(ViewId::Mentions, did, lang.tag()));
        });
    }
    if wanted.contains(&ViewId::Languages) {
        for lang in post.langs.or_undetermined().iter() {
            hold(ViewId::Languages, lang.tag(), "");
        }
    }
    held
}

#[derive(Debug)]
struct Trends {
    keys: Keys,
    authors: Interner<Did>,
    windows: Windows<(u32, u32)>,
    /// What each author's posts add up to for a key.
    sums: Sums<(u32, u32)>,
    boards: TopCandidates<u32>,
}

/// Each key with its counts and authors.
#[derive(Debug, Default)]
struct Keys {
    counts: Interner<(ViewId, TrendKey), Counts>,
    /// What 32 bits do not hold of them.
    carries: Carries<(u32, u8)>,
    /// Keys changed in the running time, with their values before.
    touched: BTreeMap<u32, Values>,
}

/// Posts by window, then authors by window.
type Counts = [i32; 8];

/// The same as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Values([i64; 8]);

impl Default for Trends {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            authors: Interner::default(),
            windows: Windows::new(&Window::ALL),
            sums: Sums::default(),
            boards: TopCandidates::default(),
        }
    }
}

impl Keys {
    fn apply(&mut self, changed: Changed<(u32, u32)>) {
        let Changed {
            key: (key, _author),
            old,
            new,
        } = changed;
        let before = self.values(key);
        self.touched.entry(key).or_insert(before);
        let counts = &mut self.counts[key];
        for window in Window::ALL.map(|window| window as usize) {
            let (old, new) = (old[window], new[window]);
            let authors = i64::from(new > 0) - i64::from(old > 0);
            for (place, diff) in [(window, new - old), (4 + window, authors)] {
                let carry = || (key, place as u8);
                self.carries.add(&mut counts[place], diff, carry);
            }
        }
    }

    fn values(&self, key: u32) -> Values {
        let counts = self.counts[key];
        let carry = |place: usize| (key, place as u8);
        Values(std::array::from_fn(|place| {
            self.carries.value(counts[place], || carry(place))
        }))
    }
}

impl Trends {
    fn advance(&mut self, now: Minute) {
        let Self {
            windows,
            sums,
            keys,
            ..
        } = self;
        windows.advance(now, |pair, diffs| keys.apply(sums.add(pair, diffs)));
    }

    fn add(&mut self, held: Occurrence) {
        let key = self.keys.counts.number(&(held.view, held.key));
        let author = self.authors.number(&held.author);
        let pair = (key, author);
        let diffs = self.windows.enter((pair, held.first_seen), held.diff);
        self.keys.apply(self.sums.add(pair, diffs));
    }

    /// Tells the rows that changed, offers their keys to the boards, forgets keys that no post holds any more.
    fn settle(&mut self, time: Time, suppressed: SuppressedRows, output: &mut Vec<Output>) {
        for (number, old) in std::mem::take(&mut self.keys.touched) {
            let new = self.keys.values(number);
            let (view, key) = self.keys.counts.key(number).clone();
            if suppressed.emits(view, time) {
                emit_change((view, time), &key, (old, new), Values::row, output);
            }
            if let Some(view) = list_view(view) {
                let lang = Lang::named(&key.lang);
                let (before, row) = (old.row(), new.row());
                for measure in [Measure::Count, Measure::Authors] {
                    let family = Family {
                        view,
                        measure,
                        lang,
                    };
                    let is_new = before.of(measure) == [0; 4];
                    self.boards.offer(family, (number, is_new), row.of(measure));
                }
            }
            if new == Values::default() {
                self.keys.counts.release(number);
            }
        }
    }

    fn lists(&mut self, worker: usize, output: &mut Vec<Output>) {
        let Self { boards, keys, .. } = self;
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            for (number, (view, key), _) in keys.counts.iter() {
                let value = keys.values(number).row().of(family.measure)[window as usize];
                let is_of_lang = &*key.lang == family.lang_tag();
                if list_view(*view) == Some(family.view) && is_of_lang && value > 0 {
                    found.push((number, value));
                }
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            let key = |number: u32| &keys.counts.key(number).1.key;
            (Reverse(a.1), key(a.0)).cmp(&(Reverse(b.1), key(b.0)))
        };
        boards.take_changed(all, order, |family, window, best| {
            let lang = family.lang_tag().into();
            let Family { view, measure, .. } = family;
            let entries = best.iter().map(|&(number, value)| {
                let row = keys.values(number).row();
                let other = match measure {
                    Measure::Count => row.authors,
                    _ => row.counts,
                };
                ListEntry {
                    key: keys.counts.key(number).1.key.clone(),
                    value,
                    other: other[window as usize],
                    longer: row.of(measure)[window.longer().unwrap_or(window) as usize],
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

/// The view that holds the lists of another.
fn list_view(view: ViewId) -> Option<ViewId> {
    match view {
        ViewId::Hashtags => Some(ViewId::TopHashtags),
        ViewId::Domains => Some(ViewId::TopDomains),
        ViewId::Links => Some(ViewId::TopLinks),
        ViewId::Mentions => Some(ViewId::TopMentions),
        _ => None,
    }
}

impl Values {
    fn row(&self) -> TrendRow {
        let [a, b, c, d, e, f, g, h] = self.0.map(shown);
        TrendRow {
            counts: [a, b, c, d],
            authors: [e, f, g, h],
        }
    }
}

/// The values of a measure by window.
trait OfMeasure {
    fn of(&self, measure: Measure) -> [u32; 4];
}

impl OfMeasure for TrendRow {
    fn of(&self, measure: Measure) -> [u32; 4] {
        match measure {
            Measure::Authors => self.authors,
            _ => self.counts,
        }
    }
}
