//! The totals of events that were made up, and the report of a real worker.

use super::*;

use differential_dataflow::input::Input as _;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Input as _, Inspect, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn operates(id: usize, address: &[usize], name: &str) -> TimelyEvent {
    let addr = address.to_vec();
    let name = name.to_owned();
    TimelyEvent::Operates(OperatesEvent { id, addr, name })
}

fn busy_ms(report: &WorkerReport, name: &str) -> u128 {
    let operator = report.operators.iter().find(|it| &*it.name == name);
    let seconds = operator.expect("an operator").busy_seconds;
    Duration::from_secs_f64(seconds).as_millis()
}

#[test]
fn the_time_of_a_scope_excludes_the_operators_that_it_contains() {
    let mut totals = Totals::default();
    totals.timely(at(0), operates(0, &[0], "Dataflow"));
    totals.timely(at(0), operates(1, &[0, 1], "Region"));
    totals.timely(at(0), operates(2, &[0, 1, 1], "Count"));
    for (ms, start, id) in [
        (10, true, 0),
        (11, true, 1),
        (13, true, 2),
        (20, false, 2),
        (21, true, 2),
        (22, false, 2),
        (24, false, 1),
        (29, false, 0),
        // The worker did other work before the next step.
        (100, true, 0),
        (101, false, 0),
    ] {
        let event = match start {
            true => ScheduleEvent::start(id),
            false => ScheduleEvent::stop(id),
        };
        totals.timely(at(ms), event.into());
    }
    let report = totals.report();
    assert_eq!(busy_ms(&report, "Count"), 8);
    assert_eq!(busy_ms(&report, "Region"), 5);
    assert_eq!(busy_ms(&report, "Dataflow"), 7);
    let total = Duration::from_secs_f64(report.busy_seconds).as_millis();
    assert_eq!(total, 20, "the sum of all operators");
    let activations: Vec<u64> = report.operators.iter().map(|it| it.activations).collect();
    assert_eq!(activations, [2, 1, 2]);
    let scopes: Vec<bool> = report.operators.iter().map(|it| it.is_scope).collect();
    assert_eq!(scopes, [true, true, false]);
}

#[test]
fn the_time_between_park_and_unpark_is_parked() {
    let mut totals = Totals {
        in_batch: true,
        ..Totals::default()
    };
    for (ms, event) in [
        (5, ParkEvent::Park(None)),
        (9, ParkEvent::Unpark),
        (20, ParkEvent::Park(Some(at(1)))),
        (21, ParkEvent::Unpark),
    ] {
        totals.timely(at(ms), TimelyEvent::Park(event));
    }
    // The time between batches does not count, even if a batch begins before the end of it.
    totals.in_batch = false;
    totals.timely(at(30), TimelyEvent::Park(ParkEvent::Park(None)));
    totals.in_batch = true;
    totals.timely(at(40), TimelyEvent::Park(ParkEvent::Unpark));
    let parked = totals.report().parked_seconds;
    assert_eq!(Duration::from_secs_f64(parked), at(5));
}

#[test]
fn batches_merges_and_drops_of_an_arrangement_balance() {
    use differential_dataflow::logging::{BatchEvent, BatcherEvent, DropEvent, MergeEvent};
    let mut totals = Totals::default();
    totals.timely(at(0), operates(7, &[0, 1], "Arrange"));
    let merge = |complete| MergeEvent {
        operator: 7,
        scale: 1,
        length1: 10,
        length2: 20,
        complete,
    };
    let pending = BatcherEvent {
        operator: 7,
        records_diff: 4,
        size_diff: 0,
        capacity_diff: 0,
        allocations_diff: 0,
    };
    let batch = |length| {
        DifferentialEvent::from(BatchEvent {
            operator: 7,
            length,
        })
    };
    totals.differential(&batch(10));
    totals.differential(&batch(20));
    totals.differential(&batch(5));
    totals.differential(&merge(None).into());
    totals.differential(&merge(Some(26)).into());
    totals.differential(
        &DropEvent {
            operator: 7,
            length: 5,
        }
        .into(),
    );
    totals.differential(&pending.into());
    let report = totals.report();
    let expected = ArrangementReport {
        records: 26,
        batches: 1,
        merges: 1,
        pending_records: 4,
    };
    assert_eq!(report.operators[0].arrangement, Some(expected));
}

/// The report of a real worker that computes something, with what it must contain.
#[test]
fn a_worker_reports_the_records_and_the_names_of_its_operators() {
    timely::execute_directly(|worker| {
        let mut log = OperatorLog::register(worker, Arc::default(), true);
        let mut input = InputHandle::new();
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            scope
                .input_from(&mut input)
                .map(|n: u64| n + 1)
                .inspect(|_n| {})
                .probe_with(&probe);
        });
        // An arrangement drops its batches when nobody holds its trace.
        let (mut pairs, trace) = worker.dataflow::<u64, _, _>(|scope| {
            let (handle, pairs) = scope.new_collection::<(u64, u64), isize>();
            let index = pairs.arrange_by_key_named("Index");
            let trace = index.trace.clone();
            index.as_collection(|k, v| (*k, *v)).probe_with(&probe);
            (handle, trace)
        });
        for time in 0..10_u64 {
            for n in 0..100 {
                input.send(n);
                pairs.insert((n, time));
            }
            input.advance_to(time + 1);
            pairs.advance_to(time + 1);
            pairs.flush();
            worker.step_while(|| probe.less_than(&(time + 1)));
        }
        log.report_if_due(worker);
        let report = log.take_report().expect("the first report is due");
        log.report_if_due(worker);
        assert_eq!(log.take_report(), None, "within the same second");
        let named = |name: &str| {
            let mut found = report.operators.iter().filter(|it| &*it.name == name);
            found
                .next()
                .unwrap_or_else(|| panic!("no operator {name}: {report:?}"))
        };
        let map = named("FlatMap");
        assert_eq!((map.input.records, map.output.records), (1_000, 1_000));
        assert!(map.activations > 0);
        let index = named("Index").arrangement.expect("an arrangement");
        assert_eq!(index.records, 1_000);
        assert!(index.batches > 0);
        let channel = report
            .channels
            .iter()
            .find(|it| it.received.records == 1_000);
        let channel = channel.expect("a channel with all records");
        assert_eq!(channel.sent, channel.received);
        let sum: f64 = report.operators.iter().map(|it| it.busy_seconds).sum();
        assert!((sum - report.busy_seconds).abs() < 1e-6, "{report:?}");
        // The handles must outlive the report: operators that shut down are still listed.
        drop((input, pairs, trace));
    });
}
