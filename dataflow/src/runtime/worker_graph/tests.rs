//! Tests the sizes of the whole graph.

use std::sync::Arc;

use skytide_core::event::{Action, Body, Event, Op};
use skytide_core::id::{Cursor, Did, Epoch, Seq, Tid};
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;

use super::*;
use crate::fact::TickCoverage;
use crate::graph::GraphConfig;
use crate::metrics::Metrics;
use crate::records::AccountPolicy;
use crate::runtime::cluster::Links;
use crate::types::SuppressedRows;

/// Noon of some day, in milliseconds.
const NOON: u64 = 20_000 * 86_400_000 + 43_200_000;

/// All structures of a worker, by name.
const EXPECTED: [&str; 44] = [
    "accounts.rows",
    "accounts.updates",
    "activity.stash",
    "activity.sums",
    "actors.candidates",
    "actors.edges",
    "actors.rare_counts",
    "actors.stash",
    "actors.table",
    "actors.window",
    "counters.stash",
    "counters.sums",
    "coverage.rows",
    "coverage.stash",
    "interactions.days",
    "interactions.dids",
    "interactions.disk",
    "interactions.stash",
    "live_records.accounts",
    "live_records.activity",
    "live_records.collections",
    "live_records.content",
    "live_records.dids",
    "live_records.facts",
    "live_records.gone_posts",
    "live_records.removed",
    "live_records.runs",
    "live_records.stash",
    "live_records.table",
    "merge_lists.newest",
    "merge_lists.stash",
    "posts.candidates",
    "posts.lang_sets",
    "posts.other_tallies",
    "posts.stash",
    "posts.table",
    "posts.windows",
    "rows.buffer",
    "trends.authors",
    "trends.candidates",
    "trends.keys",
    "trends.stash",
    "trends.sums",
    "trends.windows",
];

fn did(letter: char) -> Did {
    let text = format!("did:plc:{}", String::from(letter).repeat(24));
    text.parse().expect("it is a DID")
}

fn event(seq: u64, author: char, body: Body) -> Input {
    Input::Event(Event {
        host: "relay.example".into(),
        seq: Cursor(seq),
        index: 0,
        time: Timestamp(NOON),
        did: did(author),
        body,
    })
}

fn write(seq: u64, author: char, collection: &str, record: &[u8]) -> Input {
    let op = Op {
        rev: Tid(seq),
        since: None,
        action: Action::Create,
        collection: collection.parse().expect("it is an NSID"),
        rkey: match collection {
            "app.bsky.actor.profile" => "self".parse().expect("it is a record key"),
            _ => Tid(seq).into(),
        },
        cid: None,
        record: Some(record.into()),
    };
    event(seq, author, Body::Op(op))
}

/// One event for each structure.
fn inputs() -> Vec<Input> {
    let subject = did('a').to_string();
    let post = format!("at://{subject}/app.bsky.feed.post/{}", Tid(1));
    let to_post = |uri: &str| [b"\xa1\x67subject\xa1\x63uri\x78\x46", uri.as_bytes()].concat();
    let to_account = |did: &str| [b"\xa1\x67subject\x78\x20", did.as_bytes()].concat();
    let reply = [
        &b"\xa2\x64tags\x81\x65hello\x65reply\xa1\x66parent\xa1\x63uri\x78\x46"[..],
        post.as_bytes(),
    ]
    .concat();
    let deleted = Op {
        rev: Tid(9),
        since: None,
        action: Action::Delete,
        collection: "app.bsky.feed.post".parse().expect("it is an NSID"),
        rkey: Tid(2).into(),
        cid: None,
        record: None,
    };
    let handle = Some("ana.example".into());
    vec![
        Input::Counts([("frames".into(), 3)].into()),
        write(1, 'a', "app.bsky.feed.post", b"\xa1\x65langs\x81\x62en"),
        write(2, 'b', "app.bsky.feed.post", &reply),
        write(3, 'c', "app.bsky.feed.post", &reply),
        write(4, 'b', "app.bsky.feed.like", &to_post(&post)),
        write(5, 'b', "app.bsky.graph.follow", &to_account(&subject)),
        write(6, 'b', "app.bsky.graph.block", &to_account(&subject)),
        write(
            7,
            'b',
            "app.bsky.actor.profile",
            b"\xa1\x6bdisplayName\x65Alice",
        ),
        event(8, 'a', Body::Identity { handle, sent: None }),
        event(9, 'b', Body::Op(deleted)),
        Input::Coverage(TickCoverage {
            epoch: 1,
            from: Timestamp(NOON),
            time: Timestamp(NOON),
            gaps: Vec::new(),
            open_gap: None,
            counts: vec![("missing_seqs".into(), 3)],
        }),
    ]
}

#[test]
fn every_stateful_operator_reports_the_size_of_each_structure() {
    let sizes = timely::execute_directly(|worker| {
        let metrics = Arc::new(Metrics::default());
        let mut log = OperatorLog::register(worker, metrics, true);
        let command = BuildCommand {
            graph: GraphConfig {
                views: ViewId::ALL.to_vec(),
                interactions_days: Some(8),
                suppressed: SuppressedRows::NONE,
            },
            policy: AccountPolicy::default(),
            counted_through: 0,
            restores_runs: false,
        };
        let mut graph = WorkerGraph::build(worker, &command, &log, |_, _| (), None);
        let clock = Clock {
            now: Timestamp(NOON),
            lists: true,
        };
        let segment = Segment {
            time: 1,
            clock,
            inputs: inputs(),
            lists: Vec::new(),
        };
        let end = End {
            epoch: Epoch(1),
            time: clock.now,
            since: clock.now,
            log_seq: Seq(1),
            hash: 0,
            restored: false,
            events: 0,
            bytes: 0,
            epochs: 1,
        };
        graph.feed(vec![segment], end, &mut log);
        let liveness = Links::alone().liveness(1).expect("there are no sockets");
        let changes = graph.complete(worker, end, &mut log, &liveness);
        assert!(changes.is_some_and(|it| !it.changes.is_empty()));
        log.states().sizes(0)
    });
    let names: Vec<&str> = sizes.iter().map(|size| &*size.name).collect();
    assert_eq!(names, EXPECTED);
    let empty = sizes.iter().filter(|size| size.bytes == 0);
    let empty: Vec<&str> = empty.map(|size| &*size.name).collect();
    let expected = [
        "interactions.disk",
        "live_records.removed",
        "live_records.runs",
        "rows.buffer",
    ];
    assert_eq!(
        empty, expected,
        "nothing was removed or evicted, no batch is processed"
    );
}
