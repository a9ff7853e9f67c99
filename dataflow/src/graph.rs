//! The whole picture, top to bottom.
//!
//! ```text
//! events ─▶ live_records ─▶ facts ─┬▶ posts, top_posts ─────────────┐
//!                                  ├▶ actors, top_actors, top_blocks┼─ lists ─▶ merge_lists ─┐
//!                                  ├▶ trends ───────────────────────┘                        │
//!                                  │    └───────┴──────── rows ──────────────────────────────┤
//!                                  ├▶ accounts, handles                                      ├─▶ rows
//!                                  ├▶ interactions                                           │
//!                                  └▶ activity, counters ────────────────────────────────────┘
//! ```
//!
//! Everything before `facts` is routed by DID, everything behind it by the key of its view; `interactions` by its author.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skytide_core::view::{ActivityKey, ViewId};
use timely::dataflow::operators::{Concat, Concatenate, vec::Filter};
use timely::dataflow::{Scope, StreamVec};

use crate::fact::Activity;
use crate::operators::lists::{Newest, WorkerList, merge_lists, split};
use crate::types::{Clocks, Facts, Rows, Shared, SuppressedRows, Time};
use crate::views::accounts::accounts;
use crate::views::activity::{activity, counters};
use crate::views::actors::{ActorViews, actors};
use crate::views::handles::handles;
use crate::views::interactions::interactions;
use crate::views::posts::{PostViews, posts};
use crate::views::trends::trends;

/// What the graph is to compute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GraphConfig {
    /// The views.
    pub views: Vec<ViewId>,
    /// Days for which `interactions` are kept, the open one included; `None`: for ever.
    pub interactions_days: Option<u32>,
    /// Up to when rows are not told.
    pub suppressed: SuppressedRows,
}

/// What no live record tells again: kept here as it is counted, for checkpoints.
#[derive(Debug, Default)]
pub struct Accumulators {
    /// Operations by stretch of time and collection.
    pub activity: Shared<BTreeMap<ActivityKey, Activity>>,
    /// Counters by name.
    pub counters: Shared<BTreeMap<String, u64>>,
    /// The lists as they were last written.
    pub lists: Shared<Newest>,
}

/// What flows into the graph.
#[derive(Clone)]
pub struct Streams<'s> {
    /// Facts.
    pub facts: Facts<'s>,
    /// The clock.
    pub clocks: Clocks<'s>,
    /// Lists of a checkpoint.
    pub former_lists: StreamVec<'s, Time, WorkerList>,
}

/// All rows of the wanted views.
pub fn build<'s>(
    scope: Scope<'s, Time>,
    streams: Streams<'s>,
    wanted: &GraphConfig,
    sums: &Accumulators,
) -> Rows<'s> {
    let Streams {
        facts,
        clocks,
        former_lists,
    } = streams;
    let suppressed = wanted.suppressed;
    let any = |views: &[ViewId]| views.iter().any(|view| wanted.views.contains(view));
    let one = |view: ViewId| any(&[view]);
    let (facts, clocks) = (|| facts.clone(), || clocks.clone());
    let both = || (facts(), clocks());
    let worker = scope.index();
    let (mut rows, mut lists) = (Vec::new(), Vec::new());

    let wanted_posts = PostViews {
        rows: one(ViewId::Posts),
        lists: one(ViewId::TopPosts),
    };
    if wanted_posts.rows || wanted_posts.lists {
        lists.push(posts(facts(), clocks(), (worker, wanted_posts), suppressed));
    }
    let of_posts = trend_views(&wanted.views);
    if !of_posts.is_empty() {
        lists.push(trends(facts(), clocks(), (worker, of_posts), suppressed));
    }
    let wanted_actors = ActorViews {
        rows: one(ViewId::Actors),
        lists: any(&[ViewId::TopActors, ViewId::TopBlocks]),
    };
    if wanted_actors.rows || wanted_actors.lists {
        lists.push(actors(
            facts(),
            clocks(),
            (worker, wanted_actors),
            suppressed,
        ));
    }
    if one(ViewId::Interactions) {
        rows.push(interactions(both(), wanted.interactions_days, suppressed));
    }
    if one(ViewId::Accounts) {
        rows.push(accounts(facts(), suppressed));
    }
    if one(ViewId::Handles) {
        rows.push(handles(facts(), suppressed));
    }
    // Counted even where they are not wanted: nothing else could tell them when they are wanted again.
    rows.push(activity(both(), sums.activity.clone(), suppressed));
    rows.push(counters(both(), sums.counters.clone(), suppressed));

    let (own_rows, worker_lists) = split(scope.concatenate(lists));
    rows.push(own_rows);
    let worker_lists = worker_lists.concat(former_lists);
    rows.push(merge_lists(
        (worker_lists, clocks()),
        sums.lists.clone(),
        suppressed,
    ));

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
