//! The views `posts` and `top_posts`: references to posts.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::id::{Did, PostKey};
use skytide_core::live::{LiveContent, LiveSubject};
use skytide_core::time::Minute;
use skytide_core::view::{ListEntry, Measure, PostRow, PostState, ViewId, Window};

use super::Table;
use super::facts;
use super::history::AccountView;
use super::selection::Selection;
use super::top::TopLists;

/// A live record that refers to a post and counts for it.
struct Reference<'a> {
    measure: Measure,
    post: &'a PostKey,
    author: &'a Did,
    minute: Minute,
}

/// The rows of `posts`.
#[derive(Debug)]
pub(super) struct Posts<'a> {
    selection: &'a Selection,
    rows: BTreeMap<PostKey, PostRow>,
}

impl<'a> Posts<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let selection = self.selection;
        let selected = |post: &PostKey| selection.has(ViewId::Posts, post);
        for reference in references(account) {
            if !selected(reference.post) {
                continue;
            }
            let by_itself = u32::from(*reference.author == reference.post.did());
            let row = self.rows.entry(reference.post.clone()).or_default();
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
        for post in account.posts_seen().filter(selected) {
            self.rows.entry(post).or_default().state = PostState::Gone;
        }
        for post in account.live_posts().filter(selected) {
            self.rows.entry(post).or_default().state = PostState::Live;
        }
    }

    pub(super) fn rows(self, table: &mut Table) {
        for (post, row) in self.rows {
            table.put(ViewId::Posts, &post, &row);
        }
    }
}

/// The lists of `top_posts`.
#[derive(Debug)]
pub(super) struct PostLists<'a> {
    selection: &'a Selection,
    now: Minute,
    /// References to each post, by window.
    references: BTreeMap<PostKey, BTreeMap<Measure, [u32; 4]>>,
    /// Posts that were seen and are not live now.
    gone: BTreeSet<PostKey>,
    /// The primary languages of every live post of known content.
    languages: BTreeMap<PostKey, BTreeSet<Box<str>>>,
}

impl<'a> PostLists<'a> {
    pub(super) fn new(selection: &'a Selection, now: Minute) -> Self {
        Self {
            selection,
            now,
            references: BTreeMap::new(),
            gone: BTreeSet::new(),
            languages: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, account: &AccountView<'_>) {
        let selection = self.selection;
        let selected = |post: &PostKey| selection.has(ViewId::TopPosts, post);
        for reference in references(account) {
            if !selected(reference.post) {
                continue;
            }
            let measures = self.references.entry(reference.post.clone()).or_default();
            let counts = measures.entry(reference.measure).or_default();
            for window in Window::ALL {
                let inside = reference.minute >= window.first_minute(self.now);
                counts[window as usize] += u32::from(inside);
            }
        }
        let live: BTreeSet<_> = account.live_posts().filter(selected).collect();
        let seen = account.posts_seen().filter(selected);
        self.gone.extend(seen.filter(|post| !live.contains(post)));
        for fact in account.facts() {
            let LiveContent::Post(content) = fact.content else {
                continue;
            };
            let post = PostKey::new(fact.did, fact.rkey);
            if selected(&post) {
                let languages = facts::primary_languages(content).into_iter();
                self.languages
                    .insert(post, languages.map(Into::into).collect());
            }
        }
    }

    /// A post may be listed among all posts, and among the posts of its languages. A post that was
    /// never seen is listed among all posts.
    pub(super) fn offer(self, lists: &mut TopLists) {
        for (post, measures) in self.references {
            if self.gone.contains(&post) {
                continue;
            }
            let languages = self.languages.get(&post).into_iter().flatten();
            let languages = std::iter::once("").chain(languages.map(|lang| &**lang));
            for lang in languages {
                for (measure, counts) in &measures {
                    for window in Window::ALL {
                        let entry = ListEntry {
                            key: post.to_string().into(),
                            value: counts[window as usize],
                            other: 0,
                            longer: counts[window.longer().unwrap_or(window) as usize],
                        };
                        lists.offer(ViewId::TopPosts, (window, *measure, lang), entry);
                    }
                }
            }
        }
    }
}

fn references<'a>(account: &AccountView<'a>) -> Vec<Reference<'a>> {
    let mut references = Vec::new();
    for fact in account.facts() {
        let subjects: Vec<(Measure, Option<&LiveSubject>)> = match fact.content {
            LiveContent::Like(subject) => vec![(Measure::Likes, subject.as_ref())],
            LiveContent::Repost(subject) => vec![(Measure::Reposts, subject.as_ref())],
            LiveContent::Post(post) => vec![
                (Measure::Replies, post.parent.as_ref()),
                (Measure::RootReplies, post.root.as_ref()),
                (Measure::Quotes, post.quoted.as_ref()),
            ],
            _ => vec![],
        };
        for (measure, subject) in subjects {
            if let Some(post) = subject.and_then(|subject| subject.post.as_ref()) {
                references.push(Reference {
                    measure,
                    post,
                    author: fact.did,
                    minute: fact.minute,
                });
            }
        }
    }
    references
}
