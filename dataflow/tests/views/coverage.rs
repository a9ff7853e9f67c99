//! `coverage`: gaps, filters and counts of hours.

use expect_test::expect;
use skytide_core::event::{Gap, GapCause, OpenGap};
use skytide_core::time::Timestamp;
use skytide_core::view::{CoverageKey, CoverageRow, ViewId, decode_row};
use skytide_dataflow::fact::{CoverageFact, Fact, TickCoverage};
use skytide_dataflow::types::Row;

use crate::{NOON, Step, at, check};

/// A tick at so many minutes after noon.
fn tick(minutes: u32) -> TickCoverage {
    TickCoverage {
        epoch: u64::from(minutes),
        from: time(minutes),
        time: time(minutes),
        gaps: Vec::new(),
        open_gap: None,
        counts: Vec::new(),
    }
}

fn time(minutes: u32) -> Timestamp {
    at(minutes).start()
}

fn step(minutes: u32, parts: Vec<CoverageFact>) -> Step {
    let facts = parts.into_iter().map(|part| (Fact::Coverage(part), 1));
    (minutes, facts.collect())
}

/// A row as one line of text, with times in minutes after noon.
pub fn show(row: &Row) -> String {
    let key: CoverageKey = row.key.decode().unwrap();
    let row: CoverageRow = decode_row(&row.columns).unwrap();
    let minutes = |time: Timestamp| time.minute().0 - NOON;
    let end = row.end.known().map(|end| minutes(end).to_string());
    let end = end.as_deref().unwrap_or("never");
    let (kind, start) = (key.kind, minutes(key.start));
    let (label, count, merged) = (key.label, row.count, row.merged);
    format!("{kind:?} {label:?} from {start} to {end}, {count}, merged {merged}")
}

#[test]
fn a_gap_is_open_until_a_frame_arrives() {
    let cause = GapCause::OutdatedCursor;
    let from = time(1);
    let opened = TickCoverage {
        open_gap: Some(OpenGap { from, cause }),
        ..tick(2)
    };
    let still = TickCoverage {
        time: time(3),
        epoch: 3,
        ..opened.clone()
    };
    let to = time(4);
    let closed = TickCoverage {
        gaps: vec![Gap { from, to, cause }],
        ..tick(4)
    };
    let steps = [opened, still, closed].map(|tick| {
        let minutes = tick.epoch as u32;
        step(minutes, vec![CoverageFact::Tick(tick)])
    });
    check(
        &[ViewId::Coverage],
        steps.into(),
        expect![[r#"
            t1 +1 Known "" from 2 to never, 0, merged 0
            t1 +1 OpenGap "outdated_cursor" from 1 to never, 0, merged 1
            t3 -1 OpenGap "outdated_cursor" from 1 to never, 0, merged 1
            t3 +1 Gap "outdated_cursor" from 1 to 4, 180000, merged 1
        "#]],
    );
}

#[test]
fn a_filter_is_active_in_the_hours_in_which_it_excludes_something() {
    let filtered = |minutes, count| TickCoverage {
        counts: vec![("dropped/filter_did".into(), count)],
        ..tick(minutes)
    };
    // The ticks of a batch are applied in their order, whatever order they arrive in.
    let batch = vec![
        CoverageFact::Tick(filtered(65, 2)),
        CoverageFact::Tick(filtered(5, 3)),
    ];
    let later = vec![CoverageFact::Tick(filtered(200, 1))];
    check(
        &[ViewId::Coverage],
        vec![step(65, batch), step(200, later)],
        expect![[r#"
            t1 +1 Filter "filter_did" from 0 to 120, 5, merged 1
            t1 +1 Hour "dropped/filter_did" from 0 to 60, 3, merged 1
            t1 +1 Hour "dropped/filter_did" from 60 to 120, 2, merged 1
            t1 +1 Known "" from 5 to never, 0, merged 0
            t2 +1 Filter "filter_did" from 180 to 240, 1, merged 1
            t2 +1 Hour "dropped/filter_did" from 180 to 240, 1, merged 1
        "#]],
    );
}
