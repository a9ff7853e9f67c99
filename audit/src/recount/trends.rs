//! The views `hashtags`, `domains`, `links`, `mentions` and `languages`, and the lists of the first
//! four.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::live::{LiveContent, LivePost};
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, Measure, TrendKey, TrendRow, ViewId, Window};

use super::Table;
use super::facts;
use super::history::AccountView;
use super::selection::Selection;
use super::top::TopLists;

/// What the posts of one view contain. `languages` has no lists.
const VIEWS: [(ViewId, Option<ViewId>); 5] = [
    (ViewId::Hashtags, Some(ViewId::TopHashtags)),
    (ViewId::Domains, Some(ViewId::TopDomains)),
    (ViewId::Links, Some(ViewId::TopLinks)),
    (ViewId::Mentions, Some(ViewId::TopMentions)),
    (ViewId::Languages, None),
];

/// The rows of keys by view, key and language (empty for all languages).
#[derive(Debug)]
pub(super) struct Trends<'a> {
    selection: &'a Selection,
    /// The view under which keys are selected, and the view that says what posts contain.
    views: Vec<(ViewId, ViewId)>,
    now: Minute,
    rows: BTreeMap<(ViewId, Box<str>, Box<str>), TrendRow>,
}

impl<'a> Trends<'a> {
    /// Counts the rows.
    pub(super) fn of_rows(selection: &'a Selection, now: Minute) -> Self {
        let views = VIEWS.iter().map(|(view, _)| (*view, *view));
        Self::new(selection, views.collect(), now)
    }

    /// Counts the items of lists.
    pub(super) fn of_lists(selection: &'a Selection, now: Minute) -> Self {
        let views = VIEWS
            .iter()
            .filter_map(|(view, lists)| Some(((*lists)?, *view)));
        Self::new(selection, views.collect(), now)
    }

    fn new(selection: &'a Selection, views: Vec<(ViewId, ViewId)>, now: Minute) -> Self {
        Self {
            selection,
            views,
            now,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        // The minutes of the account's posts that contain a key.
        let mut minutes: BTreeMap<(ViewId, Box<str>, Box<str>), Vec<Minute>> = BTreeMap::new();
        for fact in account.facts() {
            let LiveContent::Post(post) = fact.content else {
                continue;
            };
            for &(view, contained) in &self.views {
                let mut langs = BTreeSet::from([""]);
                if contained != ViewId::Languages {
                    langs.extend(facts::primary_languages(post));
                }
                for key in keys_of(post, contained) {
                    for &lang in &langs {
                        if self.selection.has(view, &(&*key, lang)) {
                            let key = (view, key.clone(), lang.into());
                            minutes.entry(key).or_default().push(fact.minute);
                        }
                    }
                }
            }
        }
        for (key, minutes) in minutes {
            let row = self.rows.entry(key).or_default();
            for window in Window::ALL {
                let first = window.first_minute(self.now);
                let posts = minutes.iter().filter(|minute| **minute >= first).count() as u32;
                row.counts[window as usize] += posts;
                row.authors[window as usize] += u32::from(posts > 0);
            }
        }
    }

    pub(super) fn rows(self, table: &mut Table) {
        for ((view, key, lang), row) in self.rows {
            table.put(view, &TrendKey { key, lang }, &row);
        }
    }

    pub(super) fn offer(self, lists: &mut TopLists) {
        for ((view, key, lang), row) in self.rows {
            for window in Window::ALL {
                for &measure in Measure::of(view) {
                    let entry = entry(&key, &row, window, measure);
                    lists.offer(view, (window, measure, &lang), entry);
                }
            }
        }
    }
}

fn entry(key: &str, row: &TrendRow, window: Window, measure: Measure) -> ListEntry {
    let (measured, other) = match measure {
        Measure::Count => (row.counts, row.authors),
        _ => (row.authors, row.counts),
    };
    ListEntry {
        key: key.into(),
        value: measured[window as usize],
        other: other[window as usize],
        longer: measured[window.longer().unwrap_or(window) as usize],
    }
}

/// The keys that a post contains, without duplicates.
fn keys_of(post: &LivePost, view: ViewId) -> BTreeSet<Box<str>> {
    match view {
        ViewId::Hashtags => post.hashtags.iter().cloned().collect(),
        ViewId::Domains => post.domains.iter().cloned().collect(),
        ViewId::Links => post.links.iter().cloned().collect(),
        ViewId::Mentions => {
            let mentions = post.mentions.iter();
            mentions.map(|did| did.to_string().into()).collect()
        }
        ViewId::Languages => facts::languages(post).into_iter().map(Into::into).collect(),
        other => unreachable!("{} is not a trend view", other.name()),
    }
}
