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
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, TrendKey, TrendRow, ViewId, Window};
use timely::dataflow::channels::pact::Exchange;

use super::sums::tell_change;
use crate::fact::{Fact, Post, UNDETERMINED};
use crate::operators::boards::{Boards, Family, OVERALL};
use crate::operators::interner::Interner;
use crate::operators::lists::{Output, WorkerList};
use crate::operators::of_facts::of_facts;
use crate::operators::on_tick::on_tick;
use crate::operators::windows::{Changed, Sums, Windows};
use crate::types::{Clocks, Facts, Quiet, Time};

/// A post holds a key, or no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
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
    quiet: Quiet,
) -> timely::dataflow::StreamVec<'s, Time, Output> {
    let held = of_facts(facts, "OfTrends", move |fact, (_time, diff), held| {
        if let Fact::Post(post) = fact {
            held.extend(held_by(post, &wanted, diff));
        }
    });

    let by_key = Exchange::new(|held: &Held| (held.view as u8, &held.key).hashed());
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
            trends.settle(time, quiet, output);
            if clock.lists {
                trends.lists(worker, output);
            }
        },
    )
}

/// Everything that a post holds: each key overall and in each of the post's languages.
fn held_by(post: &Post, wanted: &[ViewId], diff: i32) -> Vec<Held> {
    let mut held = Vec::new();
    let author = post.key.did();
    let mut hold = |view: ViewId, key: &str, lang: &str| {
        let key = TrendKey {
            key: key.into(),
            lang: lang.into(),
        };
        let (author, first_seen) = (author.clone(), post.first_seen);
        held.push(Held {
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
            langs.iter().for_each(|lang| hold(view, key, lang));
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
                .for_each(|lang| hold(ViewId::Mentions, did, lang));
        });
    }
    if wanted.contains(&ViewId::Languages) {
        for lang in &post.langs {
            hold(ViewId::Languages, lang, "");
        }
        if post.langs.is_empty() {
            hold(ViewId::Languages, UNDETERMINED, "");
        }
    }
    held
}

#[derive(Debug)]
struct Trends {
    /// Each key with its counts and authors.
    keys: Interner<(ViewId, TrendKey), Values>,
    authors: Interner<Did>,
    langs: Interner<Box<str>>,
    windows: Windows<(u32, u32)>,
    /// What each author's posts add up to for a key.
    sums: Sums<(u32, u32)>,
    boards: Boards<u32>,
    /// Keys changed in the running time, with their values before.
    touched: BTreeMap<u32, Values>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Values {
    counts: [i32; 4],
    authors: [i32; 4],
}

impl Default for Trends {
    fn default() -> Self {
        Self {
            keys: Interner::default(),
            authors: Interner::default(),
            langs: Interner::default(),
            windows: Windows::new(&Window::ALL),
            sums: Sums::default(),
            boards: Boards::default(),
            touched: BTreeMap::new(),
        }
    }
}

impl Trends {
    fn advance(&mut self, now: Minute) {
        let Self {
            windows,
            sums,
            keys,
            touched,
            ..
        } = self;
        windows.advance(now, |key, diffs| {
            apply(keys, touched, sums.add(key, diffs));
        });
    }

    fn add(&mut self, held: Held) {
        let key = self.keys.number(&(held.view, held.key));
        let author = self.authors.number(&held.author);
        let pair = (key, author);
        let diffs = self.windows.enter((pair, held.first_seen), held.diff);
        let changed = self.sums.add(pair, diffs);
        apply(&mut self.keys, &mut self.touched, changed);
    }

    /// Tells the rows that changed, offers their keys to the boards, forgets keys that no post holds any more.
    fn settle(&mut self, time: Time, quiet: Quiet, output: &mut Vec<Output>) {
        for (number, old) in std::mem::take(&mut self.touched) {
            let new = self.keys[number];
            let (view, key) = self.keys.key(number).clone();
            if quiet.tells(view, time) {
                tell_change((view, time), &key, (old, new), Values::row, output);
            }
            if let Some(view) = list_view(view) {
                let lang = match &*key.lang {
                    "" => OVERALL,
                    _ => self.langs.number(&key.lang),
                };
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
                self.keys.release(number);
            }
        }
    }

    fn lists(&mut self, worker: usize, output: &mut Vec<Output>) {
        let Self {
            boards,
            keys,
            langs,
            ..
        } = self;
        let all = |family: Family, window: Window, found: &mut Vec<(u32, u32)>| {
            for (number, (view, key), values) in keys.iter() {
                let lang = if key.lang.is_empty() {
                    Some(OVERALL)
                } else {
                    langs.find(&key.lang)
                };
                let value = values.row().of(family.measure)[window as usize];
                if list_view(*view) == Some(family.view) && lang == Some(family.lang) && value > 0 {
                    found.push((number, value));
                }
            }
        };
        let order = |a: &(u32, u32), b: &(u32, u32)| {
            (Reverse(a.1), &keys.key(a.0).1.key).cmp(&(Reverse(b.1), &keys.key(b.0).1.key))
        };
        boards.take_changed(all, order, |family, window, best| {
            let lang = match family.lang {
                OVERALL => "".into(),
                lang => langs.key(lang).clone(),
            };
            let Family { view, measure, .. } = family;
            let entries = best.iter().map(|&(number, value)| {
                let row = keys[number].row();
                let other = match measure {
                    Measure::Count => row.authors,
                    _ => row.counts,
                };
                ListEntry {
                    key: keys.key(number).1.key.clone(),
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

fn apply(
    keys: &mut Interner<(ViewId, TrendKey), Values>,
    touched: &mut BTreeMap<u32, Values>,
    changed: Changed<(u32, u32)>,
) {
    let Changed {
        key: (key, _author),
        old,
        new,
    } = changed;
    let values = &mut keys[key];
    touched.entry(key).or_insert(*values);
    for window in Window::ALL.map(|window| window as usize) {
        let (old, new) = (old[window], new[window]);
        values.counts[window] += new - old;
        values.authors[window] += i32::from(new > 0) - i32::from(old > 0);
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
        let count = |n: i32| u32::try_from(n).expect("a count of live records is not negative");
        TrendRow {
            counts: self.counts.map(count),
            authors: self.authors.map(count),
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
