//! The six views, as a textbook would write them: joins, reductions and counts over collections.

use std::cmp::Reverse;

use differential_dataflow::hashable::Hashable;
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use differential_dataflow::{ExchangeData, VecCollection};
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{ListRow, Window};

use super::input::{Change, Content, POSTS, RecordKey, Subject};
use super::rows::{Row, Tallies};
use crate::model::Policy;

/// The number of the epoch.
pub type Time = u32;
/// A collection of the textbook dataflow.
pub type Table<'s, D, R = i32> = VecCollection<'s, Time, D, R>;

/// The parts into which each bucket of ten minutes is divided, so that all workers share it.
pub const BUCKET_PARTS: u64 = 16;

/// The input collections: see [`Input`](super::Input).
pub struct Inputs<'s> {
    /// The operations.
    pub ops: Table<'s, (RecordKey, Change)>,
    /// Accounts that are not active.
    pub hidden: Table<'s, Did>,
    /// Deleted accounts, and the position of the newest deletion.
    pub cleared: Table<'s, (Did, u64)>,
    /// The parts of the buckets of the last 24 hours.
    pub recent: Table<'s, (u32, u64)>,
}

/// A record that exists: the minute in which it was first seen, and its content.
type Live = (RecordKey, (u32, Content));

/// The rows of the six views.
pub fn views<'s>(input: Inputs<'s>, policy: Policy) -> Table<'s, Row> {
    let Inputs { ops, recent, .. } = input;
    let live = live_records(ops.clone(), input.cleared, input.hidden, policy);
    let scope = live.scope();
    let gone = gone_posts(ops.clone(), live.clone());
    let views = [
        posts(live.clone()),
        top_posts(live.clone(), recent.clone(), gone),
        hashtags(live.clone(), recent),
        interactions(live.clone()),
        accounts(live),
        operations(ops),
    ];
    differential_dataflow::collection::concatenate(scope, views)
}

/// The newest version of each record that was not deleted since.
fn live_records<'s>(
    ops: Table<'s, (RecordKey, Change)>,
    cleared: Table<'s, (Did, u64)>,
    hidden: Table<'s, Did>,
    policy: Policy,
) -> Table<'s, Live> {
    let by_account = |(key, change): (RecordKey, Change)| (key.0.clone(), (key, change));
    let ops = match policy {
        Policy::OpsOnly => ops,
        _ => {
            let ended = ops.clone().map(by_account).join(cleared);
            let ended = ended.filter(|(_, ((_, change), cleared))| change.position <= *cleared);
            ops.concat(ended.map(|(_, (op, _))| op).negate())
        }
    };
    let live = ops.reduce(|_, changes: &[(&Change, i32)], live| {
        let deleted = changes
            .iter()
            .rposition(|(change, _)| change.content.is_none());
        let versions = &changes[deleted.map_or(0, |index| index + 1)..];
        if let [(first, _), ..] = versions {
            let newest = versions
                .last()
                .and_then(|(change, _)| change.content.clone());
            live.extend(newest.map(|content| ((first.minute, content), 1)));
        }
    });
    match policy {
        Policy::ActiveAccountsOnly => {
            let live = live.map(|record| (record.0.0.clone(), record));
            live.antijoin(hidden).map(|(_, record)| record)
        }
        _ => live,
    }
}

/// Posts that were seen and do not exist now.
fn gone_posts<'s>(
    ops: Table<'s, (RecordKey, Change)>,
    live: Table<'s, Live>,
) -> Table<'s, PostKey> {
    let address = |key: &RecordKey| (key.1 == POSTS).then(|| PostKey::new(&key.0, &key.2));
    let written = ops.filter(|(_, change)| change.content.is_some());
    let seen = written
        .flat_map(move |(key, _)| address(&key))
        .distinct_total_core::<i32>();
    seen.concat(live.flat_map(move |(key, _)| address(&key)).negate())
}

/// View 1: likes, reposts, replies and quotes of each post.
fn posts<'s>(live: Table<'s, Live>) -> Table<'s, Row> {
    let references = live.explode(|(_, (_, content))| {
        let acts = acts(&content).into_iter();
        acts.filter_map(|(subject, tallies)| Some((subject.post?, tallies)))
            .collect::<Vec<_>>()
    });
    references
        .count_total_core::<i32>()
        .map(|(post, tallies)| Row::Post { post, tallies })
}

/// View 2: the posts with the most likes of the last 24 hours.
fn top_posts<'s>(
    live: Table<'s, Live>,
    recent: Table<'s, (u32, u64)>,
    gone: Table<'s, PostKey>,
) -> Table<'s, Row> {
    let likes = live.flat_map(|(_, (minute, content))| match content {
        Content::Like(subject) => Some((bucket(minute, &subject.post), subject.post?)),
        _ => None,
    });
    let recent = likes.semijoin(recent).map(|(_, post)| (post, ()));
    let counts = recent
        .antijoin(gone)
        .map(|(post, ())| post)
        .count_total_core::<i32>();
    let entries = counts.map(|(post, likes)| ((), (Reverse(likes), post)));
    top(entries).map(|(_, (Reverse(likes), post))| Row::TopPost { post, likes })
}

/// View 3: posts and distinct authors of each hashtag, of all time and of 24 hours, and the
/// hashtags with the most posts.
fn hashtags<'s>(live: Table<'s, Live>, recent: Table<'s, (u32, u64)>) -> Table<'s, Row> {
    let tags = live.flat_map(|((author, _, rkey), (minute, content))| {
        let tags = if let Content::Post(post) = content {
            post.tags
        } else {
            vec![]
        };
        let bucket = bucket(minute, &rkey);
        tags.into_iter()
            .map(move |tag| (bucket, (tag, author.clone())))
    });
    let all = tags
        .clone()
        .map(|(_, (tag, author))| ((Window::All, tag), author));
    let day = tags
        .semijoin(recent)
        .map(|(_, (tag, author))| ((Window::Day, tag), author));
    let tags = all.concat(day);
    let posts = tags.clone().explode(|(tag, _)| Some((tag, (1, 0, 0, 0))));
    let authors = tags.distinct_total_core::<i32>();
    let authors = authors.explode(|(tag, _)| Some((tag, (0, 1, 0, 0))));
    let counts = posts.concat(authors).count_total_core::<i32>();
    let rows = counts.clone();
    let rows = rows.map(|((window, tag), counts)| Row::Tag {
        window,
        tag,
        counts,
    });
    let entries = counts
        .map(|((window, tag), (posts, authors, ..))| (window, (Reverse(posts), tag, authors)));
    let top = top(entries).map(|(window, (Reverse(posts), tag, authors))| Row::TopTag {
        window,
        tag,
        counts: (posts, authors, 0, 0),
    });
    rows.concat(top)
}

/// View 4: what each account did to each other account on each day.
fn interactions<'s>(live: Table<'s, Live>) -> Table<'s, Row> {
    let acts = live.explode(|((author, ..), (minute, content))| {
        let act = acts(&content).into_iter().next();
        let act = act.filter(|(subject, _)| subject.did != author);
        act.map(|(subject, tallies)| ((author, subject.did, minute / 1_440), tallies))
    });
    acts.count_total_core::<i32>()
        .map(|((author, subject, day), tallies)| Row::Interaction {
            author,
            subject,
            day,
            tallies,
        })
}

/// View 5: distinct followers, follows and posts of each account.
fn accounts<'s>(live: Table<'s, Live>) -> Table<'s, Row> {
    let own = live
        .clone()
        .explode(|((author, ..), (_, content))| match content {
            Content::Follow(_) => Some((author, (0, 1, 0, 0))),
            Content::Post(_) => Some((author, (0, 0, 1, 0))),
            _ => None,
        });
    let followers = live.flat_map(|((author, ..), (_, content))| match content {
        Content::Follow(subject) => Some((subject?, author)),
        _ => None,
    });
    let followers = followers.distinct_total_core::<i32>();
    let followers = followers.explode(|(subject, _)| Some((subject, (1, 0, 0, 0))));
    let counts = own.concat(followers).count_total_core::<i32>();
    counts.map(|(account, counts)| Row::Account { account, counts })
}

/// View 6: creates, updates and deletes of each collection in each hour.
fn operations<'s>(ops: Table<'s, (RecordKey, Change)>) -> Table<'s, Row> {
    let counts = ops.explode(|((_, collection, _), change)| {
        let one = |action| i32::from(change.action == action);
        Some((
            (collection, change.minute / 60),
            (one(0), one(1), one(2), 0),
        ))
    });
    counts
        .count_total_core::<i32>()
        .map(|((collection, hour), counts)| Row::Operations {
            collection,
            hour,
            counts,
        })
}

/// The records that a record acts on. Only the first one counts for `interactions`.
fn acts(content: &Content) -> Vec<(Subject, Tallies)> {
    match content {
        Content::Like(subject) => vec![(subject.clone(), (1, 0, 0, 0))],
        Content::Repost(subject) => vec![(subject.clone(), (0, 1, 0, 0))],
        Content::Post(post) => {
            let reply = post.parent.clone().map(|subject| (subject, (0, 0, 1, 0)));
            let quote = post.quoted.clone().map(|subject| (subject, (0, 0, 0, 1)));
            reply.into_iter().chain(quote).collect()
        }
        _ => vec![],
    }
}

/// The bucket of a minute, and the part of it that contains an item.
fn bucket(minute: u32, item: &impl std::hash::Hash) -> (u32, u64) {
    (minute / 10, item.hashed() % BUCKET_PARTS)
}

/// The first entries of each list. A tree of reductions, so that a change is compared with a few
/// hundred others and not with all.
fn top<'s, K: ExchangeData + std::hash::Hash, E: ExchangeData + std::hash::Hash>(
    mut entries: Table<'s, (K, E)>,
) -> Table<'s, (K, E)> {
    for parts in [4_096, 256, 16, 1] {
        let parted = entries.map(move |(list, entry)| ((list, entry.hashed() % parts), entry));
        let reduced = parted.reduce(|_, entries: &[(&E, i32)], first| {
            let entries = entries.iter().take(ListRow::LENGTH);
            first.extend(entries.map(|(entry, _)| ((*entry).clone(), 1)));
        });
        entries = reduced.map(|((list, _), entry)| (list, entry));
    }
    entries
}
