//! Ledger, recount and dataflow: three ways to the same numbers.

use std::collections::BTreeMap;

use skytide_core::event::Message;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{
    ActivityKey, ActivityRow, ActorRow, CounterRow, PostRow, Span, TrendKey, TrendRow, ViewId,
    Window, decode_row,
};
use skytide_simnet::recount::{self, Model, Policy, Rows};
use skytide_simnet::{Ledger, Totals};

use super::decoded::messages;
use super::{frames, with_bad};
use crate::recount::harness::Case;

fn model() -> recount::Options {
    recount::Options {
        policy: Policy::ActiveAccountsOnly,
        interactions_days: Some(8),
    }
}

/// Rows of a view as `read` sees them; zeros left out.
fn table<K: Ord, V: PartialEq + Default>(
    rows: &Rows,
    view: ViewId,
    read: impl Fn(&skytide_core::view::Key, &[u8]) -> Option<(K, V)>,
) -> BTreeMap<K, V> {
    let rows = rows[&view].iter().filter_map(|(key, row)| read(key, row));
    rows.filter(|(_, value)| *value != V::default()).collect()
}

/// Posts by key within the hour, in all languages.
fn trend(rows: &Rows, view: ViewId) -> BTreeMap<String, u64> {
    table(rows, view, |key, row| {
        let (key, row): (TrendKey, TrendRow) = (key.decode().ok()?, decode_row(row).ok()?);
        let count = u64::from(row.counts[Window::Hour as usize]);
        key.lang.is_empty().then(|| (key.key.to_string(), count))
    })
}

fn actors(rows: &Rows, value: impl Fn(&ActorRow) -> u32) -> BTreeMap<Did, u64> {
    table(rows, ViewId::Actors, |key, row| {
        Some((key.decode().ok()?, u64::from(value(&decode_row(row).ok()?))))
    })
}

#[test]
fn ledger_and_recount_agree_on_a_network_with_every_kind_of_bad_input() {
    for seed in [21, 22] {
        let options = with_bad(seed, 8_000, 2_500);
        let frames: Vec<_> = frames(options.clone()).collect();
        let (mut ledger, mut counters) = (Ledger::default(), Totals::default());
        frames.iter().for_each(|frame| ledger.add(frame));
        frames.iter().for_each(|frame| counters.add(frame));
        let totals = ledger.totals();
        let mut model = Model::new(model());
        for message in messages(&frames, &options) {
            model.read(&message);
        }
        let rows = model.rows();

        let posts = table(&rows, ViewId::Posts, |key, row| {
            let (key, row): (PostKey, PostRow) = (key.decode().ok()?, decode_row(row).ok()?);
            let tallies = [
                row.likes,
                row.reposts,
                row.replies,
                row.root_replies,
                row.quotes,
            ];
            Some((key, tallies.map(u64::from)))
        });
        assert_eq!(posts, totals.posts, "seed {seed}");
        assert_eq!(
            trend(&rows, ViewId::Hashtags),
            totals.hashtags,
            "seed {seed}"
        );
        assert_eq!(trend(&rows, ViewId::Domains), totals.domains, "seed {seed}");
        assert_eq!(trend(&rows, ViewId::Links), totals.links, "seed {seed}");
        assert_eq!(
            trend(&rows, ViewId::Languages),
            totals.languages,
            "seed {seed}"
        );
        let mentions = totals
            .mentions
            .iter()
            .map(|(did, count)| (did.to_string(), *count));
        assert_eq!(
            trend(&rows, ViewId::Mentions),
            mentions.collect(),
            "seed {seed}"
        );
        assert_eq!(
            actors(&rows, |row| row.followers),
            totals.followers,
            "seed {seed}"
        );
        assert_eq!(
            actors(&rows, |row| row.blockers),
            totals.blockers,
            "seed {seed}"
        );
        let live = table(&rows, ViewId::Activity, |key, row| {
            let (key, row): (ActivityKey, ActivityRow) =
                (key.decode().ok()?, decode_row(row).ok()?);
            let all = key.span == Span::All && !key.collection.is_empty();
            all.then(|| (key.collection.to_string(), row.live))
        });
        assert_eq!(live, totals.live, "seed {seed}");
        let counted = table(&rows, ViewId::Counters, |key, row| {
            let row: CounterRow = decode_row(row).ok()?;
            Some((key.decode().ok()?, row.value))
        });
        assert_eq!(&counted, counters.by_name(), "seed {seed}");
    }
}

#[tokio::test]
async fn the_dataflow_agrees_with_the_recount_on_such_a_network() {
    let options = with_bad(23, 4_000, 2_500);
    let frames: Vec<_> = frames(options.clone()).collect();
    let log: Vec<Message> = messages(&frames, &options);
    let expected = recount::recount(&log, model());
    for workers in [1, 2] {
        let case = Case {
            seed: 23,
            options: model(),
            workers,
            epochs_max: 3,
        };
        case.compare(&expected, &case.run(&log).await);
    }
}
