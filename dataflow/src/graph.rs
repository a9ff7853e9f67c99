//! The whole picture, top to bottom.
//!
//! ```text
//! events ─▶ live_records ─▶ facts ─┬▶ posts ───────────────────────────────┐
//!                                  ├▶ top_posts ──┐                        │
//!                                  ├▶ trends ─────┼─ lists ─▶ merge_lists ─┤
//!                                  ├▶ top_actors ─┘                        ├─▶ rows
//!                                  ├▶ interactions                         │
//!                                  ├▶ actors, accounts, handles            │
//!                                  └▶ activity, counters ──────────────────┘
//! ```
//!
//! Everything before `facts` is routed by DID, everything behind it by the key of its view.

use skytide_core::view::ViewId;
use timely::dataflow::Scope;
use timely::dataflow::operators::{Concatenate, vec::Filter};

use crate::operators::lists::{merge_lists, split};
use crate::types::{Clocks, Facts, Rows, Time};
use crate::views::accounts::accounts;
use crate::views::activity::{activity, counters};
use crate::views::actors::actors;
use crate::views::handles::handles;
use crate::views::interactions::interactions;
use crate::views::posts::posts;
use crate::views::top_actors::top_actors;
use crate::views::top_posts::top_posts;
use crate::views::trends::trends;

/// What the graph is to compute.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The views.
    pub views: Vec<ViewId>,
    /// Days for which `interactions` are kept, the open one included; `None`: for ever.
    pub interactions_days: Option<u32>,
}

/// All rows of the wanted views.
pub fn build<'s>(
    scope: Scope<'s, Time>,
    (facts, clocks): (Facts<'s>, Clocks<'s>),
    wanted: &Wanted,
) -> Rows<'s> {
    let any = |views: &[ViewId]| views.iter().any(|view| wanted.views.contains(view));
    let one = |view: ViewId| any(&[view]);
    let (facts, clocks) = (|| facts.clone(), || clocks.clone());
    let worker = scope.index();
    let (mut rows, mut lists) = (Vec::new(), Vec::new());

    if one(ViewId::Posts) {
        rows.push(posts(facts()));
    }
    if one(ViewId::TopPosts) {
        lists.push(top_posts(facts(), clocks(), worker));
    }
    let of_posts = trend_views(&wanted.views);
    if !of_posts.is_empty() {
        lists.push(trends(facts(), clocks(), (worker, of_posts)));
    }
    if any(&[ViewId::TopActors, ViewId::TopBlocks]) {
        lists.push(top_actors(facts(), clocks(), worker));
    }
    if one(ViewId::Interactions) {
        rows.push(interactions(facts(), clocks(), wanted.interactions_days));
    }
    if one(ViewId::Actors) {
        rows.push(actors(facts()));
    }
    if one(ViewId::Accounts) {
        rows.push(accounts(facts()));
    }
    if one(ViewId::Handles) {
        rows.push(handles(facts()));
    }
    if one(ViewId::Activity) {
        rows.push(activity(facts(), clocks()));
    }
    if one(ViewId::Counters) {
        rows.push(counters(facts(), clocks()));
    }

    let (own_rows, worker_lists) = split(scope.concatenate(lists));
    rows.push(own_rows);
    rows.push(merge_lists(worker_lists, clocks()));

    let views = wanted.views.clone();
    scope
        .concatenate(rows)
        .filter(move |(row, ..)| views.contains(&row.view))
}

/// The views that `trends` computes: those wanted, and those whose lists are wanted.
fn trend_views(wanted: &[ViewId]) -> Vec<ViewId> {
    let pairs = [
        (ViewId::Hashtags, Some(ViewId::TopHashtags)),
        (ViewId::Domains, Some(ViewId::TopDomains)),
        (ViewId::Links, Some(ViewId::TopLinks)),
        (ViewId::Mentions, Some(ViewId::TopMentions)),
        (ViewId::Languages, None),
    ];
    let needed = |(view, lists): &(ViewId, Option<ViewId>)| {
        wanted.contains(view) || lists.is_some_and(|lists| wanted.contains(&lists))
    };
    pairs
        .into_iter()
        .filter(needed)
        .map(|(view, _)| view)
        .collect()
}
