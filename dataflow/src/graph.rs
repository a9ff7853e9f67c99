//! The whole dataflow graph, top to bottom.
//!
//! ```text
//! events ─▶ live_records ─▶ facts ─┬▶ posts, top_posts ──────────────┐
//!                                  ├▶ actors, top_actors, top_blocks,│
//!                                  │  top_interactions ──────────────┼─ lists ─▶ merge_lists ─┐
//!                                  ├▶ trends ────────────────────────┘                        │
//!                                  │    └─ rows of posts, actors, trends ─────────────────────┤
//!                                  ├▶ accounts, handles ──────────────────────────────────────┤
//!                                  ├▶ interactions ───────────────────────────────────────────┤
//!                                  └▶ activity, counters, coverage ───────────────────────────┴▶
//!                                                                                             rows
//! ```
//!
//! Events are partitioned by the DID of their account. After `facts`, each view partitions its data
//! by the view's key; `interactions` stays partitioned by author.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skytide_core::view::{ActivityKey, ViewId};
use timely::dataflow::{Scope, StreamVec};

use crate::fact::Activity;
use crate::operators::lists::{Newest, WorkerList, merge_lists, split};
use crate::operators::named::{concatenate, filter};
use crate::options::Scratch;
use crate::types::{Clocks, Facts, Rows, Shared, SuppressedRows, Time, ViewInput};
use crate::views::accounts::accounts;
use crate::views::activity::{activity, counters};
use crate::views::actors::{ActorViews, actors};
use crate::views::coverage::{CoverageRows, coverage};
use crate::views::handles::handles;
use crate::views::interactions::interactions;
use crate::views::posts::{PostViews, posts};
use crate::views::trends::trends;

/// Which views the graph computes, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GraphConfig {
    /// The views to compute.
    pub views: Vec<ViewId>,
    /// Days for which `interactions` are retained, including the current day; `None` for no limit.
    pub interactions_days: Option<u32>,
    /// For each view, the time up to which its rows are not emitted.
    pub suppressed: SuppressedRows,
}

/// State that cannot be recomputed from live records. The operators that count share it, so that
/// checkpoints can include it.
#[derive(Debug, Default)]
pub struct Accumulators {
    /// Operations by period and collection.
    pub activity: Shared<BTreeMap<ActivityKey, Activity>>,
    /// Counters by name.
    pub counters: Shared<BTreeMap<String, u64>>,
    /// What is known to be missing from the counts.
    pub coverage: Shared<CoverageRows>,
    /// The top lists as they were last written.
    pub lists: Shared<Newest>,
}

/// The input streams of the graph.
#[derive(Clone)]
pub struct Streams<'s> {
    /// Facts.
    pub facts: Facts<'s>,
    /// The clock.
    pub clocks: Clocks<'s>,
    /// Top lists of a restored checkpoint.
    pub restored_lists: StreamVec<'s, Time, WorkerList>,
}

/// Builds the graph. Returns the rows of the views in `config`. `scratch` is where state can move
/// to when memory is short.
pub fn build<'s>(
    scope: Scope<'s, Time>,
    streams: Streams<'s>,
    config: &GraphConfig,
    accumulators: &Accumulators,
    scratch: Option<&Scratch>,
) -> Rows<'s> {
    let Streams {
        facts,
        clocks,
        restored_lists,
    } = streams;
    let suppressed = config.suppressed;
    let any = |views: &[ViewId]| views.iter().any(|view| config.views.contains(view));
    let one = |view: ViewId| any(&[view]);
    let input = ViewInput { facts, clocks };
    let input = || input.clone();
    let worker = scope.index();
    let (mut rows, mut lists) = (Vec::new(), Vec::new());

    let post_views = PostViews {
        rows: one(ViewId::Posts),
        lists: one(ViewId::TopPosts),
    };
    if post_views.rows || post_views.lists {
        lists.push(posts(input(), worker, post_views, suppressed));
    }
    let trend_views = trend_views(&config.views);
    if !trend_views.is_empty() {
        lists.push(trends(input(), worker, trend_views, suppressed));
    }
    let actor_views = ActorViews {
        rows: one(ViewId::Actors),
        lists: any(&[
            ViewId::TopActors,
            ViewId::TopBlocks,
            ViewId::TopInteractions,
        ]),
    };
    if actor_views.rows || actor_views.lists {
        lists.push(actors(input(), worker, actor_views, suppressed));
    }
    if one(ViewId::Interactions) {
        rows.push(interactions(
            input(),
            config.interactions_days,
            suppressed,
            scratch.cloned(),
        ));
    }
    if one(ViewId::Accounts) {
        rows.push(accounts(input(), suppressed));
    }
    if one(ViewId::Handles) {
        rows.push(handles(input().facts, suppressed));
    }
    // These are counted even when they are not among the views: if they are enabled again later,
    // nothing else could supply the counts.
    let Accumulators {
        activity: activity_counts,
        counters: counter_values,
        coverage: coverage_rows,
        lists: newest_lists,
    } = accumulators;
    rows.push(activity(input(), activity_counts.clone(), suppressed));
    rows.push(counters(input(), counter_values.clone(), suppressed));
    rows.push(coverage(input(), coverage_rows.clone(), suppressed));

    let (own_rows, worker_lists) = split(concatenate(scope, "ViewOutputs", lists));
    rows.push(own_rows);
    let worker_lists = concatenate(scope, "WorkerLists", vec![worker_lists, restored_lists]);
    let newest_lists = newest_lists.clone();
    rows.push(merge_lists(
        worker_lists,
        input().clocks,
        newest_lists,
        suppressed,
    ));

    let views = config.views.clone();
    let rows = concatenate(scope, "AllRows", rows);
    filter(rows, "ConfiguredViews", move |(row, ..)| {
        views.contains(&row.view)
    })
}

/// The views that `trends` computes: those in `views`, and those whose top lists are in `views`.
fn trend_views(views: &[ViewId]) -> Vec<ViewId> {
    let pairs = [
        (ViewId::Hashtags, Some(ViewId::TopHashtags)),
        (ViewId::Domains, Some(ViewId::TopDomains)),
        (ViewId::Links, Some(ViewId::TopLinks)),
        (ViewId::Mentions, Some(ViewId::TopMentions)),
        (ViewId::Languages, None),
    ];
    let needed = |(view, lists): &(ViewId, Option<ViewId>)| {
        views.contains(view) || lists.is_some_and(|lists| views.contains(&lists))
    };
    pairs
        .into_iter()
        .filter(needed)
        .map(|(view, _)| view)
        .collect()
}
