//! The views `hashtags`, `domains`, `links`, `mentions` and `languages`, and the lists of the first
//! four.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, TrendKey, TrendRow, ViewId, Window};

use super::facts::{Content, Post};
use super::history::History;
use super::{Table, top_list};

/// The trend views with their list views; `languages` has no lists.
const VIEWS: [(ViewId, Option<ViewId>); 5] = [
    (ViewId::Hashtags, Some(ViewId::TopHashtags)),
    (ViewId::Domains, Some(ViewId::TopDomains)),
    (ViewId::Links, Some(ViewId::TopLinks)),
    (ViewId::Mentions, Some(ViewId::TopMentions)),
    (ViewId::Languages, None),
];

/// Posts, as author and minute, by the key that they contain and by language (empty for all
/// languages).
type PostsByKey = BTreeMap<(String, String), Vec<(Did, Minute)>>;

pub(super) fn rows(history: &History, now: Minute, table: &mut Table) {
    for (view, _) in VIEWS {
        for ((key, lang), posts) in posts_by_key(history, view) {
            let key = TrendKey {
                key: key.into(),
                lang: lang.into(),
            };
            table.put(view, &key, &row(&posts, now));
        }
    }
}

pub(super) fn lists(history: &History, now: Minute, table: &mut Table) {
    for (view, lists) in VIEWS {
        let Some(lists) = lists else { continue };
        let mut groups: BTreeMap<String, Vec<(String, TrendRow)>> = BTreeMap::new();
        for ((key, lang), posts) in posts_by_key(history, view) {
            let group = groups.entry(lang).or_default();
            group.push((key, row(&posts, now)));
        }
        for (lang, rows) in groups {
            for window in Window::ALL {
                for &measure in Measure::of(lists) {
                    let entries = rows
                        .iter()
                        .map(|(key, row)| entry(key, row, window, measure));
                    let key = ListKey {
                        window,
                        measure,
                        lang: lang.as_str().into(),
                    };
                    if let Some(list) = top_list(entries) {
                        table.put(lists, &key, &list);
                    }
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

fn row(posts: &[(Did, Minute)], now: Minute) -> TrendRow {
    let mut row = TrendRow::default();
    for window in Window::ALL {
        let first = window.first_minute(now);
        let within = || posts.iter().filter(|(_, minute)| *minute >= first);
        let authors: BTreeSet<_> = within().map(|(author, _)| author).collect();
        row.counts[window as usize] = within().count() as u32;
        row.authors[window as usize] = authors.len() as u32;
    }
    row
}

fn posts_by_key(history: &History, view: ViewId) -> PostsByKey {
    let mut posts_by_key = PostsByKey::new();
    for fact in history.facts() {
        let Content::Post(post) = fact.content else {
            continue;
        };
        let mut langs = BTreeSet::from([String::new()]);
        if view != ViewId::Languages {
            langs.extend(post.primary_languages());
        }
        for key in keys_of(post, view) {
            for lang in &langs {
                let posts = posts_by_key.entry((key.clone(), lang.clone())).or_default();
                posts.push((fact.uri.did.clone(), fact.minute));
            }
        }
    }
    posts_by_key
}

/// The keys that a post contains, without duplicates.
fn keys_of(post: &Post, view: ViewId) -> BTreeSet<String> {
    match view {
        ViewId::Hashtags => post.hashtags.clone(),
        ViewId::Domains => post.domains.clone(),
        ViewId::Links => post.links.clone(),
        ViewId::Mentions => post.mentions.iter().map(Did::to_string).collect(),
        ViewId::Languages => post.languages(),
        other => unreachable!("{} is not a trend view", other.name()),
    }
}
