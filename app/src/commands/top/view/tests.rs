//! Views of a made-up answer.

use super::super::answer::WaitsFor;
use super::*;

/// A small screen.
const SIZE: (usize, usize) = (60, 12);

fn answer() -> Answer {
    let text = r#"{
        "recent": {"seconds": 5.2, "is_whole_run": false},
        "waits_for": {"word": "nothing", "sentence": "every part keeps up"},
        "findings": [{"kind": "store", "worker": null, "operator": null, "state": null,
            "sentence": "The view store holds the dataflow up."}],
        "progress": {"epoch": 12345, "lag_ms": 1500, "batches_pending": 2, "recent": {
            "events_per_second": 412.4, "rows_per_second": 1203, "commits_per_second": 4.96,
            "commit_share": 0.876}},
        "workers": [{"worker": 0, "recent": {"busy": 0.25, "commit_wait": 0.7, "batch_wait": 0.05}}],
        "operators": [
            {"address": [0, 1], "name": "Slow", "arrangement": null, "recent": {"share": 0.2,
                "share_by_worker": [0.3, 0.1], "input_records_per_second": 5,
                "output_records_per_second": 200000}},
            {"address": [0, 2], "name": "Fast", "arrangement": {"records": 77}, "recent": {
                "share": 0.05, "share_by_worker": [0.05, 0.05],
                "input_records_per_second": 900}}],
        "state": [{"name": "table", "worker": 0, "entries": 10, "bytes": 1024, "option": "OPTION"},
            {"name": "table", "worker": 1, "entries": 5, "bytes": 1024, "option": "OPTION"}],
        "memory": {"resident_bytes": 1048576, "accounted_bytes": 524288,
            "unaccounted_bytes": 524288}
    }"#;
    serde_json::from_str(text).expect("an answer")
}

fn view() -> View {
    let mut view = View::new("http://localhost:7780");
    view.receive(answer(), Instant::now());
    view
}

fn names(view: &View) -> Vec<String> {
    let lines = view.body().into_iter().map(|line| line.text);
    let operators = lines.filter(|text| text.starts_with("Slow") || text.starts_with("Fast"));
    operators.map(|text| text[..4].to_owned()).collect()
}

#[test]
fn the_lines_show_the_cause_the_rates_and_the_tables() {
    let lines = view().lines(Instant::now(), None);
    let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    let expected = [
        "skytide top  http://localhost:7780  rates over 5 s",
        "store: The view store holds the dataflow up.",
        "epoch 12,345  lag 1.5 s  events 412/s  rows 1,203/s  commits 5.0/s  in commits 88 %  \
         pending 2 batches",
        "memory 1.00 MiB  accounted 512.00 KiB (50 %)  unaccounted 512.00 KiB",
        "",
        "WORKER       BUSY   OTHERS    STORE    BATCH     FEED     STEP     ROWS      CUT    OTHER",
        "0            25 %      0 %     70 %    5.0 %      0 %      0 %      0 %      0 %      0 %",
        "",
        "OPERATOR                         TIME  OF BUSY       IN/s      OUT/s   SCHED/s   SKEW   ARRANGED",
        "Slow                             20 %     80 %        5.0       200k         0   1.5x          -",
        "Fast                            5.0 %     20 %        900          0         0   1.0x         77",
        "",
        "STRUCTURE                           BYTES      ENTRIES  OPTION",
        "table                            2.00 KiB           15  OPTION",
    ];
    assert_eq!(text, expected);
}

#[test]
fn keys_sort_pause_and_scroll() {
    let mut view = view();
    assert_eq!(names(&view), ["Slow", "Fast"]);
    view.press(Key::Sort, SIZE);
    assert_eq!(names(&view), ["Fast", "Slow"], "by records in");
    view.press(Key::Pause, SIZE);
    view.receive(Answer::default(), Instant::now());
    assert_eq!(names(&view).len(), 2, "a paused view does not change");
    // A small screen: the header stays, and scrolling ends at the last line.
    view.press(Key::Scroll(100), SIZE);
    let frame = view.frame(Instant::now(), SIZE.0, SIZE.1);
    assert_eq!(frame.len(), SIZE.1);
    assert!(frame[0].text.starts_with("skytide top"), "{frame:?}");
    let last = &frame[frame.len() - 2].text;
    assert!(last.starts_with("table"), "{frame:#?}");
    assert!(frame.iter().all(|line| line.text.chars().count() <= SIZE.0));
    view.press(Key::Home, SIZE);
    assert_eq!(view.scrolled, 0);
}

#[test]
fn a_server_that_goes_away_and_returns_is_shown() {
    let mut view = View::new("http://localhost:7780");
    let text = |view: &View| {
        let lines = view.lines(Instant::now(), None).into_iter();
        lines.map(|line| line.text).collect::<Vec<_>>().join("\n")
    };
    view.fail("no answer from http://localhost:7780: refused".to_owned());
    assert!(text(&view).contains("refused"));
    view.receive(answer(), Instant::now());
    assert!(!text(&view).contains("refused"));
    view.fail("no answer from http://localhost:7780: refused".to_owned());
    assert!(text(&view).contains("refused; trying again"));
    assert!(text(&view).contains("Slow"), "the last answer remains");
    let later = Instant::now() + Duration::from_secs(30);
    assert!(view.header(later)[0].text.ends_with(" s old"));
}

#[test]
fn what_the_pipeline_waits_for_is_shown_first() {
    let mut waiting = answer();
    waiting.waits_for = Some(WaitsFor {
        word: "relay".to_owned(),
        sentence: "no frame for 20 s".to_owned(),
        detail: Some("connection refused".to_owned()),
    });
    let mut view = view();
    view.receive(waiting, Instant::now());
    let expected = "waits for relay: no frame for 20 s (connection refused)";
    assert_eq!(view.lines(Instant::now(), None)[1].text, expected);
}

#[test]
fn long_sentences_are_broken_at_spaces_and_control_characters_do_nothing() {
    let long = line("one two\u{1b}[31m three four".to_owned(), Style::Bold);
    assert!(!long.text.contains('\u{1b}'));
    let parts: Vec<String> = wrap(&long, 10).into_iter().map(|line| line.text).collect();
    assert_eq!(parts, ["one two", "[31m three", "four"]);
}

#[test]
fn numbers_fit_their_columns() {
    for (n, text) in [
        (0.0, "0"),
        (0.25, "0.2"),
        (9.96, "10.0"),
        (1234.4, "1,234"),
        (99_999.0, "99,999"),
        (123_456.0, "123k"),
        (12_345_678.0, "12M"),
    ] {
        assert_eq!(count(n), text);
    }
    assert_eq!(percent(0.0005), "<0.1 %");
    assert_eq!(percent(0.0551), "5.5 %");
}
