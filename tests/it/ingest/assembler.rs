//! Rules that need no source: time, order, filters, epochs.

use ciborium::{Value, cbor};
use skytide_core::config::CollectionFilter;
use skytide_core::event::{Body, Event, Message, Moved, Sources, Tick};
use skytide_core::id::{Cursor, Epoch};
use skytide_core::time::Timestamp;
use skytide_ingest::Options;
use skytide_ingest::assemble::filter::Filter;
use skytide_ingest::assemble::{Assembler, Cut, Note, Setup};
use skytide_ingest::frame::Verify;

use super::frames::{self, Commit, NOON, did, rev_at};
use super::harness::options;

pub(super) fn setup(options: &Options) -> Setup {
    Setup {
        host: "relay.example".into(),
        former_hosts: Vec::new(),
        cursor_reset: false,
        live: false,
        verify: Verify::Records,
        filter: Filter::load(options).unwrap(),
        tick_events_max: options.tick_events_max,
        pause_ticks: 3,
    }
}

/// All epochs that these frames make.
pub(super) fn assemble(setup: Setup, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Cut> {
    let mut assembler = Assembler::new(setup, None);
    for frame in frames {
        assembler.frame(frame.into());
    }
    assembler.tick(true);
    assembler.take_cuts()
}

pub(super) fn events(cuts: &[Cut]) -> Vec<&Event> {
    let messages = cuts.iter().flat_map(|cut| &cut.messages);
    messages
        .filter_map(|message| match message {
            Message::Event(event) => Some(event),
            Message::Tick(_) => None,
        })
        .collect()
}

pub(super) fn count(cuts: &[Cut], name: &str) -> u64 {
    cuts.iter()
        .filter_map(|cut| cut.tick.counts.get(name))
        .sum()
}

#[test]
fn an_epoch_ends_after_the_frame_that_fills_it_and_never_within_one() {
    let paths: Vec<String> = (0..7).map(|n| format!("app.bsky.feed.like/{n}")).collect();
    let ops: Vec<_> = paths.iter().map(|path| ("create", path.as_str())).collect();
    let stream: Vec<_> = (1..=100)
        .map(|seq| Commit::new(seq, &ops).frame())
        .collect();
    let mut options = options();
    options.tick_events_max = 10;
    let cuts = assemble(setup(&options), stream);
    assert_eq!(cuts.len(), 51, "two frames per epoch, and the last tick");
    for (n, cut) in cuts.iter().enumerate() {
        assert_eq!(cut.tick.epoch, Epoch(n as u64 + 1));
        let seqs: Vec<u64> = events(std::slice::from_ref(cut))
            .iter()
            .map(|e| e.seq.0)
            .collect();
        let whole = seqs.chunk_by(|a, b| a == b).all(|frame| frame.len() == 7);
        assert!(whole, "{seqs:?}");
        assert_eq!(
            seqs.len() as u64,
            cut.tick.counts.get("events").copied().unwrap_or(0)
        );
    }
    assert!(cuts[50].tick.last && !cuts[49].tick.last);
}

#[test]
fn since_is_recorded_only_while_no_filter_hides_commits() {
    let commit = Commit {
        since: Some(rev_at(NOON)),
        ..Commit::new(
            5,
            &[
                ("create", "app.bsky.feed.like/a"),
                ("delete", "app.bsky.graph.follow/b"),
            ],
        )
    };
    for (filters, collections, since) in [
        (
            vec![],
            vec!["app.bsky.feed.like", "app.bsky.graph.follow"],
            true,
        ),
        (
            vec!["*"],
            vec!["app.bsky.feed.like", "app.bsky.graph.follow"],
            true,
        ),
        (
            vec!["app.bsky.graph.*"],
            vec!["app.bsky.graph.follow"],
            false,
        ),
    ] {
        let mut options = options();
        options.collections = filters
            .iter()
            .map(|f| f.parse::<CollectionFilter>().unwrap())
            .collect();
        let cuts = assemble(setup(&options), [commit.frame()]);
        let found: Vec<_> = events(&cuts)
            .iter()
            .map(|event| match &event.body {
                Body::Op(op) => (op.collection.as_str(), op.since.is_some()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> = collections.iter().map(|&name| (name, since)).collect();
        assert_eq!(found, expected, "{filters:?}");
        assert_eq!(
            count(&cuts, "dropped/filter_collection"),
            2 - expected.len() as u64
        );
    }
}

#[test]
fn filtered_accounts_are_counted_and_do_not_affect_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deny");
    std::fs::write(&path, format!("{}\n", did(2))).unwrap();
    let mut options = options();
    options.dids_deny = Some(path);
    let cuts = assemble(setup(&options), frames::identities(1, 3));
    let seqs: Vec<u64> = events(&cuts).iter().map(|event| event.seq.0).collect();
    assert_eq!((seqs, count(&cuts, "dropped/filter_did")), (vec![1, 3], 1));
}

#[test]
fn a_repo_that_moved_without_operations_is_recorded_with_the_reason() {
    let mut too_big = Commit::new(2, &[]);
    too_big.too_big = true;
    let sync = cbor!({
        "seq" => 3, "did" => did(1), "time" => "2026-07-04T14:38:03Z", "blocks" => Value::Bytes(vec![]),
        "rev" => rev_at(NOON + 3_000).to_string()
    });
    let stream = [
        Commit::new(1, &[]).frame(),
        too_big.frame(),
        frames::frame("#sync", &sync.unwrap()),
    ];
    let cuts = assemble(setup(&options()), stream);
    let found: Vec<_> = events(&cuts)
        .iter()
        .map(|event| event.body.clone())
        .collect();
    let moved = |n: u64, why| Body::Moved {
        rev: rev_at(NOON + n * 1_000),
        why,
    };
    let expected = [
        moved(1, Moved::Empty),
        moved(2, Moved::TooBig),
        moved(3, Moved::Sync),
    ];
    assert_eq!(found, expected);
    assert_eq!(count(&cuts, "dropped/commit_too_big"), 1);
}

#[test]
fn a_repeated_path_is_applied_in_order_and_counted() {
    let path = "app.bsky.feed.like/a";
    let commit = Commit::new(1, &[("create", path), ("delete", path), ("create", path)]);
    let cuts = assemble(setup(&options()), [commit.frame()]);
    let found: Vec<_> = events(&cuts).iter().map(|event| event.index).collect();
    assert_eq!((found, count(&cuts, "paths_repeated")), (vec![0, 1, 2], 2));
}

#[test]
fn a_revision_of_the_future_is_dropped_and_the_next_one_is_not() {
    let at = |seq, ahead_ms| {
        let mut commit = Commit::new(seq, &[("create", "app.bsky.feed.like/a")]);
        commit.rev = rev_at(commit.time + ahead_ms);
        commit.frame()
    };
    // Twenty commits set the time; its median is ten seconds earlier than the newest of them.
    let mut stream: Vec<_> = (1..=40).map(|seq| at(seq, 0)).collect();
    stream.extend([at(41, 5 * 60_000 + 60_000), at(42, 4 * 60_000)]);
    let mut bad = Commit::new(43, &[("create", "app.bsky.feed.like/a")]).frame();
    let rev = rev_at(NOON + 43_000).to_string();
    let place = bad
        .windows(13)
        .position(|window| window == rev.as_bytes())
        .unwrap();
    bad[place] = b'!';
    stream.push(bad);
    let cuts = assemble(setup(&options()), stream);
    let last = events(&cuts).last().unwrap().seq;
    assert_eq!((last, events(&cuts).len()), (Cursor(42), 41));
    assert_eq!(
        (
            count(&cuts, "dropped/rev_future"),
            count(&cuts, "dropped/rev")
        ),
        (1, 1)
    );
}

#[test]
fn a_slow_stream_and_one_that_paused_lose_no_commit() {
    let stream = |times: &mut dyn Iterator<Item = u64>| -> Vec<Vec<u8>> {
        let commit = |(seq, after): (u64, u64)| {
            let mut commit = Commit::new(seq, &[("create", "app.bsky.feed.like/a")]);
            commit.time = NOON + after;
            commit.rev = rev_at(commit.time);
            commit.frame()
        };
        (1..).zip(times).map(commit).collect()
    };
    let slow = stream(&mut (1..=100).map(|n| n * 60_000));
    let paused = stream(&mut (1..=100).map(|n| n * 1_000 + if n > 50 { 600_000 } else { 0 }));
    for (name, stream) in [("slow", slow), ("paused", paused)] {
        for live in [false, true] {
            let mut setup = setup(&options());
            setup.live = live;
            let mut assembler = Assembler::new(setup, None);
            assembler.clock(Timestamp(NOON + 86_400_000));
            stream
                .iter()
                .for_each(|frame| assembler.frame(frame.clone().into()));
            assembler.tick(true);
            let cuts = assembler.take_cuts();
            let counted = (events(&cuts).len(), count(&cuts, "dropped/rev_future"));
            assert_eq!(counted, (100, 0), "{name}, live {live}");
        }
    }
}

#[test]
fn a_frame_of_the_future_justifies_its_revision_only_up_to_our_clock() {
    const AHEAD: u64 = 3_600_000;
    let sync = |seq: u64, time: u64| {
        let body = cbor!({
            "seq" => seq, "did" => did(1), "time" => Timestamp(time).rfc3339(),
            "blocks" => Value::Bytes(vec![]), "rev" => rev_at(time).to_string()
        });
        frames::frame("#sync", &body.unwrap())
    };
    let mut forged = Commit::new(41, &[("create", "app.bsky.feed.like/a")]);
    forged.time += AHEAD;
    forged.rev = rev_at(forged.time);
    // The clock is first before the time of the frame, then at it.
    for (clock, dropped) in [(NOON + 60_000, 2), (NOON + AHEAD, 0)] {
        let mut setup = setup(&options());
        setup.live = true;
        let mut assembler = Assembler::new(setup, None);
        assembler.clock(Timestamp(clock));
        for frame in frames::identities(1, 40) {
            assembler.frame(frame.into());
        }
        assembler.frame(forged.frame().into());
        assembler.frame(sync(42, NOON + AHEAD).into());
        assembler.tick(true);
        let cuts = assembler.take_cuts();
        let counted = (events(&cuts).len(), count(&cuts, "dropped/rev_future"));
        assert_eq!(counted, (42 - dropped, dropped as u64), "at {clock}");
    }
}

#[test]
fn a_forged_first_time_does_no_harm() {
    for forged in [0, NOON * 10] {
        let mut stream = vec![frames::identity(1, forged)];
        stream.extend((2..=100).map(|seq| frames::identity(seq, NOON + seq)));
        let cuts = assemble(setup(&options()), stream);
        let times: Vec<u64> = events(&cuts).iter().map(|event| event.time.0).collect();
        assert!(times.is_sorted());
        assert!(
            times[0] >= NOON && times[99] <= NOON + 100,
            "{} {}",
            times[0],
            times[99]
        );
    }
}

#[test]
fn the_time_of_a_live_stream_never_exceeds_our_clock_and_that_of_a_recording_may() {
    for (live, expected) in [(true, NOON - 5_000), (false, NOON + 49_000)] {
        let mut setup = setup(&options());
        setup.live = live;
        let mut assembler = Assembler::new(setup, None);
        for frame in frames::identities(1, 64) {
            assembler.clock(Timestamp(NOON - 5_000));
            assembler.frame(frame.into());
        }
        assembler.tick(true);
        assert_eq!(assembler.now(), Timestamp(expected));
    }
}

#[test]
fn after_a_restart_events_have_the_times_they_would_have_had() {
    let mut noise = 1_u64;
    let stream: Vec<_> = (1..=400)
        .map(|seq| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            frames::identity(seq, NOON + seq * 100 + (noise >> 33) % 3_000)
        })
        .collect();
    let expected = assemble(setup(&options()), stream.clone());
    let expected: Vec<u64> = events(&expected).iter().map(|event| event.time.0).collect();
    for live in [false, true] {
        for restart in [40, 41, 100, 333, 399] {
            let mut setup = setup(&options());
            setup.live = live;
            let mut first = Assembler::new(setup.clone(), None);
            stream[..restart]
                .iter()
                .for_each(|frame| first.frame(frame.clone().into()));
            first.tick(false);
            let cuts = first.take_cuts();
            let mut second = Assembler::new(setup, Some(&cuts.last().unwrap().tick));
            for frame in &stream[restart.saturating_sub(200)..restart] {
                if live {
                    second.frame(frame.clone().into());
                } else {
                    second.observe_past(frame);
                }
            }
            stream[restart..]
                .iter()
                .for_each(|frame| second.frame(frame.clone().into()));
            second.tick(true);
            let later = second.take_cuts();
            let times: Vec<u64> = events(&later).iter().map(|event| event.time.0).collect();
            assert_eq!(
                times,
                expected[restart..],
                "live {live}, restart at {restart}"
            );
            assert_eq!(count(&later, "frames"), (400 - restart) as u64);
            assert_eq!(count(&later, "dropped/seq_repeated"), 0);
        }
    }
}

#[test]
fn a_tick_continues_from_the_newest_one() {
    let newest = Tick {
        epoch: Epoch(41),
        time: Timestamp(NOON),
        host: "relay.example".into(),
        cursor: Cursor(7),
        frames: 70,
        last: false,
        idle: false,
        sources: Sources::default(),
        counts: Default::default(),
    };
    let mut assembler = Assembler::new(setup(&options()), Some(&newest));
    assembler.tick(false);
    assembler.frame(frames::identity(9, NOON - 5_000).into());
    assembler.tick(false);
    let cuts = assembler.take_cuts();
    let found: Vec<_> = cuts
        .iter()
        .map(|cut| {
            (
                cut.tick.epoch.0,
                cut.tick.time.0,
                cut.tick.cursor.0,
                cut.tick.frames,
            )
        })
        .collect();
    assert_eq!(found, [(42, NOON, 7, 70), (43, NOON, 9, 71)]);
    assert_eq!(count(&cuts, "missing_seqs"), 1);
}

#[test]
fn no_tick_is_written_before_the_first_frame() {
    let mut live = setup(&options());
    live.live = true;
    let mut assembler = Assembler::new(live, None);
    assembler.tick(false);
    assert!(assembler.take_cuts().is_empty());
}

#[test]
fn a_few_dropped_frames_are_reported_for_each_reason() {
    let mut assembler = Assembler::new(setup(&options()), None);
    (0..100).for_each(|_| assembler.frame(b"garbage".as_slice().into()));
    assembler.tick(true);
    let samples = assembler.take_notes();
    assert!(
        samples
            .iter()
            .all(|note| matches!(note, Note::Dropped { .. }))
    );
    assert_eq!(
        (
            samples.len(),
            count(&assembler.take_cuts(), "dropped/frame_cbor")
        ),
        (10, 100)
    );
}

#[test]
fn a_tick_of_a_recording_waits_until_a_restart_of_numbers_is_decided() {
    let mut options = options();
    options.tick_events_max = 10;
    let mut stream = frames::identities(1_000, 40);
    stream.extend((1..=31).map(|seq| frames::identity(seq, NOON + 9_000_000 + seq)));
    let mut assembler = Assembler::new(setup(&options), None);
    stream
        .iter()
        .for_each(|frame| assembler.frame(frame.clone().into()));
    assembler.tick(false);
    let cuts = assembler.take_cuts();
    assert_eq!(
        cuts.last().unwrap().tick.frames,
        40,
        "undecided frames are read again"
    );
    assembler.frame(frames::identity(32, NOON + 9_000_032).into());
    assembler.tick(true);
    let cuts = assembler.take_cuts();
    assert_eq!((count(&cuts, "resets"), events(&cuts).len()), (1, 32));
}

/// The moment of a stop or a crash must not affect from which frames the time starts, nor how it
/// continues.
#[test]
fn a_recording_interrupted_at_its_beginning_has_the_same_times() {
    let time = |seq: u64| NOON + seq % 7 * 400 + seq * 10;
    let stream: Vec<_> = (1..=60)
        .map(|seq| {
            let mut commit = Commit::new(seq, &[("create", "app.bsky.feed.like/a")]);
            commit.time = time(seq);
            commit.frame()
        })
        .collect();
    let whole = assemble(setup(&options()), stream.clone());
    for (epoch_max, stop) in [9, 5_000]
        .into_iter()
        .flat_map(|max| (1..60).map(move |it| (max, it)))
    {
        let mut options = options();
        options.tick_events_max = epoch_max;
        let mut first = Assembler::new(setup(&options), None);
        stream[..stop]
            .iter()
            .for_each(|it| first.frame(it.clone().into()));
        first.tick(false);
        let durable = first.take_cuts();
        for survived in 0..=durable.len() {
            let durable = &durable[..survived];
            let newest = durable.last().map(|cut| cut.tick.clone());
            let read = newest.as_ref().map_or(0, |tick| tick.frames as usize);
            let mut second = Assembler::new(setup(&options), newest.as_ref());
            stream[..read].iter().for_each(|it| second.observe_past(it));
            stream[read..]
                .iter()
                .for_each(|it| second.frame(it.clone().into()));
            second.tick(true);
            let mut found = events(durable);
            let rest = second.take_cuts();
            found.extend(events(&rest));
            let case = format!("stopped after {stop} frames, {read} of them durable");
            assert_eq!(found, events(&whole), "{case}");
        }
    }
}
