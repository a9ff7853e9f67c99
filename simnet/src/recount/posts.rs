//! The views `posts` and `top_posts`: references to posts.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::{AtUri, Collection, Did, PostKey};
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, ListKey, Measure, PostRow, PostState, ViewId, Window};

use super::facts::Content;
use super::history::History;
use super::{Table, top_list};

/// A live record that refers to a post and counts for it.
struct Reference {
    measure: Measure,
    post: PostKey,
    author: Did,
    minute: Minute,
}

pub(super) fn rows(history: &History, table: &mut Table) {
    let mut rows: BTreeMap<PostKey, PostRow> = BTreeMap::new();
    for reference in references(history) {
        let by_itself = u32::from(reference.author == reference.post.did());
        let row = rows.entry(reference.post).or_default();
        let (all, own) = match reference.measure {
            Measure::Likes => (&mut row.likes, &mut row.self_likes),
            Measure::Reposts => (&mut row.reposts, &mut row.self_reposts),
            Measure::Replies => (&mut row.replies, &mut row.self_replies),
            Measure::RootReplies => (&mut row.root_replies, &mut row.self_root_replies),
            Measure::Quotes => (&mut row.quotes, &mut row.self_quotes),
            other => unreachable!("{other:?} is not a measure of a post"),
        };
        *all += 1;
        *own += by_itself;
    }
    for post in &history.posts_seen {
        rows.entry(post.clone()).or_default().state = PostState::Gone;
    }
    for post in live(history) {
        rows.entry(post).or_default().state = PostState::Live;
    }
    for (post, row) in rows {
        table.put(ViewId::Posts, &post, &row);
    }
}

pub(super) fn lists(history: &History, now: Minute, table: &mut Table) {
    let live = live(history);
    let languages = languages(history);
    let mut minutes: BTreeMap<(Measure, PostKey), Vec<Minute>> = BTreeMap::new();
    for Reference {
        measure,
        post,
        minute,
        ..
    } in references(history)
    {
        if live.contains(&post) || !history.posts_seen.contains(&post) {
            minutes.entry((measure, post)).or_default().push(minute);
        }
    }
    let value = |minutes: &[Minute], window: Window| {
        let first = window.first_minute(now);
        minutes.iter().filter(|minute| **minute >= first).count() as u32
    };

    // A post may be listed among all posts, and among the posts of its languages.
    let mut groups: BTreeMap<&str, Vec<(Measure, &PostKey, &[Minute])>> = BTreeMap::new();
    for ((measure, post), minutes) in &minutes {
        let langs = languages.get(post).into_iter().flatten();
        for lang in std::iter::once("").chain(langs.map(String::as_str)) {
            let group = groups.entry(lang).or_default();
            group.push((*measure, post, minutes));
        }
    }
    for (lang, group) in groups {
        for window in Window::ALL {
            for &measure in Measure::of(ViewId::TopPosts) {
                let lists = group.iter().filter(|(of, ..)| *of == measure);
                let lists = lists.map(|(_, post, minutes)| (post, minutes, value(minutes, window)));
                let entries = lists.filter(|(.., value)| *value > 0);
                let entries = entries.map(|(post, minutes, here)| ListEntry {
                    key: post.to_string().into(),
                    value: here,
                    other: 0,
                    longer: value(minutes, window.longer().unwrap_or(window)),
                });
                let key = ListKey {
                    window,
                    measure,
                    lang: lang.into(),
                };
                if let Some(row) = top_list(entries) {
                    table.put(ViewId::TopPosts, &key, &row);
                }
            }
        }
    }
}

/// Posts that exist and are not hidden, including those of unknown content.
fn live(history: &History) -> BTreeSet<PostKey> {
    history.live().filter_map(post).collect()
}

/// The primary languages of every visible post.
fn languages(history: &History) -> BTreeMap<PostKey, BTreeSet<String>> {
    let facts = history.facts().filter_map(|fact| match fact.content {
        Content::Post(content) => Some((post(fact.uri)?, content.primary_languages())),
        _ => None,
    });
    facts.collect()
}

fn references(history: &History) -> Vec<Reference> {
    let mut references = Vec::new();
    for fact in history.facts() {
        let subjects = match fact.content {
            Content::Like(subject) => vec![(Measure::Likes, subject.as_ref())],
            Content::Repost(subject) => vec![(Measure::Reposts, subject.as_ref())],
            Content::Post(post) => vec![
                (Measure::Replies, post.parent.as_ref()),
                (Measure::RootReplies, post.root.as_ref()),
                (Measure::Quotes, post.quoted.as_ref()),
            ],
            _ => vec![],
        };
        for (measure, subject) in subjects {
            if let Some(post) = subject.and_then(post) {
                references.push(Reference {
                    measure,
                    post,
                    author: fact.uri.did.clone(),
                    minute: fact.minute,
                });
            }
        }
    }
    references
}

/// The post at this address, if the address is one of a post.
fn post(uri: &AtUri) -> Option<PostKey> {
    (uri.collection.as_str() == Collection::POST).then(|| PostKey::new(&uri.did, &uri.rkey))
}
