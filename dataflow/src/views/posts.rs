//! `posts`: the tallies of every post, of all time. The same operator also computes `top_posts`,
//! the posts with the highest tallies.
//!
//! ```text
//! facts ─ (post, update) ──exchange by post──▶ tallies ─┬▶ rows of `posts`
//!                                                       └▶ windows, candidates
//!                                                         └─ when written ─▶ lists of `top_posts`
//! ```
//!
//! State: 64 bytes, one cache line, for each known post: its key, its likes of all time and in
//! three windows, and its languages; 80 bytes more if it has other tallies. A post is removed when
//! all its counters are zero. A post that was once seen is therefore never removed.
//! [`top_posts`](super::top_posts) describes the rest of the state.
//!
//! This view was an arrangement of differential dataflow before. `docs/decisions/0002-dataflow.md`
//! gives the reasons for the change, with measurements.

use differential_dataflow::Hashable;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::record::Langs;
use skytide_core::time::Minute;
use skytide_core::view::{Measure, ViewId};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::changes::RowChange;
use super::post_table::{ALL_TALLIES, LangSet, PostCounts, PostTable, TallyDiff};
use super::top_posts::TopPosts;
use crate::fact::{Fact, Post, Reaction, Subject};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::lists::Output;
use crate::operators::on_tick::on_tick;
use crate::sizes::{HeapSize, Sizes, StateSizes};
use crate::types::{SuppressedRows, Time, ViewInput};

/// An update to a post's counters.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PostUpdate {
    post: PostKey,
    kind: PostUpdateKind,
    diff: i32,
}

/// The kind of an update to a post.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PostUpdateKind {
    /// A record that refers to the post is inserted or retracted.
    Tally(Reference),
    /// The post's own record, with these primary languages, is inserted or retracted.
    Record(Langs),
    /// The post was created.
    Seen,
}

/// A record that refers to a post.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Reference {
    measure: Measure,
    /// Whether the author of the post wrote the record.
    by_author: bool,
    first_seen: Minute,
}

/// Whether to compute `posts`, `top_posts` or both.
#[derive(Clone, Copy, Debug)]
pub struct PostViews {
    /// The rows of `posts`.
    pub rows: bool,
    /// The lists of `top_posts`.
    pub lists: bool,
}

/// Computes the rows of `posts` and this worker's lists of `top_posts`.
pub fn posts<'s>(
    input: ViewInput<'s>,
    worker: usize,
    views: PostViews,
    suppressed: SuppressedRows,
) -> StreamVec<'s, Time, Output> {
    let updates = flat_map_facts(input.facts, "OfPosts", |fact, _time, diff, updates| {
        for_each_update(fact, |post, kind| {
            updates.push(PostUpdate { post, kind, diff });
        });
    });

    let by_post = Exchange::new(|update: &PostUpdate| update.post.hashed());
    let posts = input.clocks.states.share(Posts {
        top: views.lists.then(TopPosts::default),
        ..Posts::default()
    });
    on_tick(
        "Posts",
        updates,
        by_post,
        input.clocks,
        move |time, clock, updates, output| {
            let posts = &mut *posts.borrow_mut();
            let emits = views.rows && suppressed.emits(ViewId::Posts, time);
            posts.old_counts = emits.then(HashMap::new);
            posts.advance(clock.now.minute());
            for updates in updates {
                posts.apply(updates);
            }
            posts.emit_rows(time, output);
            if clock.lists || posts.top.is_none() {
                posts.process_touched();
            }
            if let (true, Some(top)) = (clock.lists, &mut posts.top) {
                top.emit_lists(&posts.table, worker, output);
            }
        },
    )
}

/// Calls `emit` with each update that a fact gives, and the post that it updates.
pub(super) fn for_each_update(fact: &Fact, mut emit: impl FnMut(PostKey, PostUpdateKind)) {
    match fact {
        Fact::Like(like) => reaction(like, Measure::Likes, &mut emit),
        Fact::Repost(repost) => reaction(repost, Measure::Reposts, &mut emit),
        Fact::Post(post) => {
            for (subject, measure) in [
                (&post.parent, Measure::Replies),
                (&post.root, Measure::RootReplies),
                (&post.quote, Measure::Quotes),
            ] {
                reference(post, subject.as_ref(), measure, &mut emit);
            }
            let langs = post.primary_langs();
            emit(post.key.clone(), PostUpdateKind::Record(langs));
        }
        Fact::BarePost(post) => emit(post.clone(), PostUpdateKind::Record(Langs::default())),
        Fact::Seen(post) => emit(post.clone(), PostUpdateKind::Seen),
        _ => {}
    }
}

fn reaction(reaction: &Reaction, measure: Measure, emit: &mut impl FnMut(PostKey, PostUpdateKind)) {
    if let Some(post) = reaction.subject.as_ref().and_then(Subject::post) {
        let reference = Reference {
            measure,
            by_author: post.did() == reaction.author,
            first_seen: reaction.first_seen,
        };
        emit(post.clone(), PostUpdateKind::Tally(reference));
    }
}

fn reference(
    by: &Post,
    subject: Option<&Subject>,
    measure: Measure,
    emit: &mut impl FnMut(PostKey, PostUpdateKind),
) {
    if let Some(post) = subject.and_then(Subject::post) {
        let reference = Reference {
            measure,
            by_author: post.did() == by.key.did(),
            first_seen: by.first_seen,
        };
        emit(post.clone(), PostUpdateKind::Tally(reference));
    }
}

/// The state of the operator.
#[derive(Default)]
struct Posts {
    table: PostTable,
    top: Option<TopPosts>,
    /// If rows are emitted at the current time: the previous counts of the posts that it touched.
    old_counts: Option<HashMap<u32, PostCounts>>,
}

impl StateSizes for Posts {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        self.table.add_sizes(sizes);
        if let Some(top) = &mut self.top {
            top.add_sizes(sizes);
        }
    }
}

impl HeapSize for PostUpdate {
    fn heap_bytes(&self) -> usize {
        self.post.heap_bytes()
    }
}

impl Posts {
    fn advance(&mut self, now: Minute) {
        let Self { table, top, .. } = self;
        if let Some(top) = top {
            top.windows.advance(now, |(number, measure), windows| {
                let (all, own) = (0, 0);
                table.add(number, measure, TallyDiff { all, own, windows });
            });
        }
    }

    fn apply(&mut self, updates: Vec<PostUpdate>) {
        let posts = updates.iter().map(|update| &update.post);
        let numbers = self.table.posts.intern_all(posts);
        for (number, PostUpdate { kind, diff, .. }) in numbers.into_iter().zip(updates) {
            self.apply_one(number, kind, diff);
        }
    }

    fn apply_one(&mut self, number: u32, kind: PostUpdateKind, diff: i32) {
        let table = &mut self.table;
        if let Some(old_counts) = &mut self.old_counts {
            old_counts
                .entry(number)
                .or_insert_with(|| table.counts(number));
        }
        match kind {
            PostUpdateKind::Tally(Reference {
                measure,
                by_author,
                first_seen,
            }) => {
                let windows = match &mut self.top {
                    Some(top) => top.windows.enter((number, measure), first_seen, diff),
                    None => [0; 4],
                };
                let all = diff;
                let own = if by_author { diff } else { 0 };
                table.add(number, measure, TallyDiff { all, own, windows });
            }
            PostUpdateKind::Record(langs) => {
                let entry = table.touch(number, ALL_TALLIES);
                entry.live += diff;
                if let Some(top) = &mut self.top {
                    let langs = match (diff > 0, entry.live) {
                        (true, _) => top.lang_set(langs),
                        (false, 0) => LangSet::default(),
                        (false, _) => entry.langs,
                    };
                    top.change_langs(number, &mut entry.langs, langs);
                }
            }
            PostUpdateKind::Seen => {
                // This fact is never retracted. A post that is created and deleted again and again
                // could overflow the count, so the addition saturates.
                let seen = &mut table.touch(number, ALL_TALLIES).seen;
                *seen = seen.saturating_add(diff);
            }
        }
    }

    /// Emits the rows that changed.
    fn emit_rows(&mut self, time: Time, output: &mut Vec<Output>) {
        let old_counts = self.old_counts.take();
        for (number, old) in old_counts.into_iter().flatten() {
            let change = RowChange {
                view: ViewId::Posts,
                time,
                old,
                new: self.table.counts(number),
            };
            let key = self.table.posts.key(number);
            change.emit(key, PostCounts::row, output);
        }
    }

    /// Updates the candidates of top lists with the touched posts, and removes posts without
    /// counts.
    fn process_touched(&mut self) {
        for number in self.table.take_touched() {
            let changed = self.table.finish_change(number);
            if let Some(top) = &mut self.top {
                let candidate_for = top.update(number, &self.table, changed);
                self.table.posts[number].candidate_for = candidate_for;
            }
            if !self.table.is_known(number) {
                self.table.posts.release(number);
            }
        }
    }
}
