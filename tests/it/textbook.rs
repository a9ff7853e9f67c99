//! The dataflow against six views in textbook differential dataflow, at every epoch.
//!
//! The textbook version is a second oracle beside the naive recount: it shares no code with either.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use skytide_core::event::{Event, Message, Tick};
use skytide_core::time::Timestamp;
use skytide_tests::textbook::{CurrentRows, Reader, Row, Textbook, of_skytide};
use skytide_tests::world;

use crate::recount::harness::{Case, seeds};

/// The textbook dataflow with its current rows.
struct Oracle {
    reader: Reader,
    textbook: Textbook,
    current: CurrentRows,
    /// The entries of lists at the newest epoch that wrote lists.
    entries: BTreeSet<Row>,
    now: Option<Timestamp>,
}

impl Oracle {
    fn start(case: Case) -> Self {
        Self {
            reader: Reader::new(),
            textbook: Textbook::start(case.options.policy, case.workers),
            current: CurrentRows::default(),
            entries: BTreeSet::new(),
            now: None,
        }
    }

    /// The rows at the end of an epoch, with lists of the newest epoch that wrote lists.
    fn rows(&mut self, events: &[&Event], tick: &Tick) -> BTreeSet<Row> {
        let input = self.reader.read(events.iter().copied(), tick);
        self.current.apply(self.textbook.feed(input));
        let (entries, rows): (BTreeSet<_>, BTreeSet<_>) =
            self.current.rows().into_iter().partition(Row::is_entry);
        let before = self.now.replace(tick.time);
        let is_new_second = before.is_none_or(|before| before.second() < tick.time.second());
        if is_new_second || tick.idle || tick.last {
            self.entries = entries;
        }
        rows.into_iter().chain(self.entries.clone()).collect()
    }
}

/// Compares all epochs of a log; returns how many rows of each kind were compared.
async fn compare(case: Case, messages: &[Message]) -> BTreeMap<String, usize> {
    let commits = case.run(messages).await;
    let mut commits = commits.iter();
    let mut oracle = Oracle::start(case);
    let (mut events, mut compared) = (Vec::new(), BTreeMap::new());
    for message in messages {
        let tick = match message {
            Message::Event(event) => {
                events.push(event);
                continue;
            }
            Message::Tick(tick) => tick,
        };
        let retained = |row: &Row| row.is_retained(tick.time, case.options.interactions_days);
        let mut expected = oracle.rows(&events, tick);
        expected.retain(retained);
        events.clear();
        let commit = commits.next().expect("a commit per epoch");
        assert_eq!(commit.committed.epoch, tick.epoch, "{case:?}");
        let mut found = of_skytide(&commit.rows, oracle.reader.collections());
        found.retain(retained);
        if expected != found {
            let missing = expected.difference(&found).next();
            let surplus = found.difference(&expected).next();
            panic!(
                "{case:?}, epoch {}: expected {missing:?}, found {surplus:?}",
                tick.epoch
            );
        }
        for row in expected {
            let kind = format!("{:?}", discriminant(&row));
            *compared.entry(kind).or_default() += 1;
        }
    }
    assert!(
        commits.next().is_none(),
        "{case:?}: more commits than epochs"
    );
    compared
}

#[tokio::test]
async fn six_views_equal_the_textbook_dataflow_at_every_epoch() {
    let mut compared = BTreeMap::new();
    for seed in seeds(60_000) {
        for workers in [1, 2, 4] {
            let case = Case::of(seed).with(workers, 1);
            compared.append(&mut compare(case, &case.world()).await);
        }
    }
    assert_eq!(compared.len(), 7, "kinds of rows: {compared:?}");
}

#[tokio::test]
async fn long_lists_equal_those_of_the_textbook_dataflow() {
    let wide = world::Options {
        accounts: 120,
        rkeys: 24,
        epochs: 6,
        frames_max: 2_500,
    };
    for seed in seeds(61_000).into_iter().take(2) {
        let case = Case::of(seed).with(2, 1);
        compare(case, &world::log(seed, wide)).await;
    }
}
