//! Less memory than counting needs, and fewer views.

#[cfg(unix)]
use skytide_tests::copies::frames;
#[cfg(unix)]
use skytide_tests::relay::RelayServer;

#[cfg(unix)]
use crate::expected::compare;
use crate::process::{Place, recording};
#[cfg(unix)]
use crate::replaying::plain;
use crate::replaying::{files, succeeds};
#[cfg(unix)]
use crate::services::{Running, get};

#[cfg(unix)]
#[test]
fn counting_stops_over_the_memory_limit_and_a_restart_with_more_memory_is_exact() {
    let place = Place::new();
    let relay = RelayServer::start(frames(&plain()));
    let url = format!("--firehose-url={}", relay.url());
    let up = |memory_max: &str| {
        let args = [
            "up",
            &url,
            "--firehose-start=oldest",
            "--firehose-tick-events-max=100",
            "--indexer-batch-events-max=100",
            "--api-address=127.0.0.1:0",
            memory_max,
        ];
        Running::start(place.command(&args))
    };
    // The process needs more than 1 MiB before it counts anything. Each start makes one commit more.
    for start in ["the first start", "a restart"] {
        let (mut running, address) = up("--indexer-memory-max=1MiB");
        running.until_logged("memory is over INDEXER_MEMORY_MAX: no further batch is taken");
        // The health check is made once a second, and the wait does not end.
        while !get(&address, "/readyz").contains("\"word\":\"memory\"") {
            let metrics = get(&address, "/metrics");
            assert!(metrics.contains("indexer_memory_waiting 1"), "{start}");
            assert_runs(&mut running);
        }
        let metrics = get(&address, "/metrics");
        for line in [
            "indexer_memory_waiting 1",
            "indexer_memory_waits_total 1",
            "indexer_memory_max_bytes 1048576",
        ] {
            assert!(metrics.contains(line), "{start}: {metrics}");
        }
        running.signal("-TERM");
        let (code, err) = running.end();
        assert_eq!(code, Some(0), "{start}: {err}");
    }
    let (mut running, address) = up("--indexer-memory-max=none");
    while !get(&address, "/v1/network").contains("\"frames\":13833") {
        let metrics = get(&address, "/metrics");
        assert!(metrics.contains("indexer_memory_waiting 0"), "{metrics}");
        assert_runs(&mut running);
    }
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    succeeds(&place.run(&["export", "out"]));
    compare(&place.path().join("out"), "active_accounts_only");
}

/// Fails if the process has exited: what a test waits for would never come.
#[cfg(unix)]
fn assert_runs(running: &mut Running) {
    let exited = running.0.try_wait().expect("a process");
    assert_eq!(exited, None, "the process has exited");
}

#[test]
fn an_export_has_the_selected_views_only_and_a_typo_gets_a_suggestion() {
    let place = Place::new();
    let recording = recording("pds.frames.zst");
    let replay = ["replay", &recording, "--export", "out"];
    succeeds(&place.run_with(&replay, [("INDEXER_VIEWS", "all")]));
    let all = files(&place, "out");
    let selected = [("INDEXER_VIEWS", "posts,top_hashtags,accounts")];
    succeeds(&place.run_with(&replay, selected));
    let some = files(&place, "out");
    let names: Vec<&str> = some.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "accounts.ndjson",
            "posts.ndjson",
            "summary.json",
            "top_hashtags.ndjson"
        ]
    );
    for (name, bytes) in some.iter().filter(|(name, _)| name != "summary.json") {
        let same = all
            .iter()
            .any(|(other, rows)| other == name && rows == bytes);
        assert!(same && !bytes.is_empty(), "{name} differs");
    }
    let summary = |files: &[(String, Vec<u8>)]| {
        let found = files.iter().find(|(name, _)| name == "summary.json");
        String::from_utf8(found.expect("a summary").1.clone()).expect("text")
    };
    // What belongs to a view that is left out is absent, and not zero.
    for field in ["frames", "ops", "events", "live_records", "dropped"] {
        let field = format!("\"{field}\":");
        let has = [&all, &some].map(|files| summary(files).contains(&field));
        assert_eq!(has, [true, false], "{field}");
    }
    let ran = place.run_with(&replay, [("INDEXER_VIEWS", "posts,-hashtag")]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err
            .contains("there is no view \"hashtag\"; did you mean hashtags?"),
        "{}",
        ran.err
    );
}
