//! One made-up interval for each fault.

use skytide_core::port::graph::Progress;
use skytide_core::port::memory::MemoryExcess;

use super::*;

/// A worker in an interval of 10 s, in which each operator took this many seconds.
fn worker(worker: usize, operators: &[(&str, f64)]) -> WorkerReport {
    let operators = operators.iter().enumerate();
    let operators: Vec<OperatorReport> = operators
        .map(|(place, (name, busy_seconds))| OperatorReport {
            address: vec![0, place],
            name: (*name).into(),
            busy_seconds: *busy_seconds,
            ..OperatorReport::default()
        })
        .collect();
    WorkerReport {
        worker,
        running_seconds: 10.0,
        busy_seconds: operators.iter().map(|it| it.busy_seconds).sum(),
        operators,
        ..WorkerReport::default()
    }
}

fn recent(workers: Vec<WorkerReport>) -> Recent {
    Recent {
        workers: workers.into_iter().map(Arc::new).collect(),
        seconds: 10.0,
        ..Recent::default()
    }
}

/// The only finding.
#[track_caller]
fn only(recent: &Recent) -> Finding {
    let found = findings(recent);
    let [finding] = &found[..] else {
        panic!("one finding: {found:#?}");
    };
    finding.clone()
}

#[test]
fn memory_over_its_limit_is_the_first_cause_while_no_batch_is_taken() {
    let idle = WorkerReport {
        batch_wait_seconds: 9.0,
        ..worker(0, &[])
    };
    let mut recent = recent(vec![idle]);
    let mut excess = MemoryExcess {
        process: 1,
        memory: MemoryUse {
            used_bytes: 3 << 30,
            bytes_max: 2 << 30,
        },
        waits: true,
    };
    let progress = |excess| Progress {
        memory_excess: Some(excess),
        ..Progress::default()
    };
    recent.progress = Some(progress(excess));
    let finding = only(&recent);
    assert_eq!(finding.kind, FindingKind::Memory);
    assert_eq!(
        finding.sentence,
        "Memory holds the dataflow up: process 1 uses 3072 MiB, and its limit (INDEXER_MEMORY_MAX) \
         is 2048 MiB. No further batch is taken."
    );
    // A restart continues in spite of it.
    excess.waits = false;
    recent.progress = Some(progress(excess));
    assert_eq!(only(&recent).kind, FindingKind::Idle);
}

#[test]
fn workers_that_wait_for_the_committer_point_at_the_store_and_not_at_operators() {
    let waiting = |number| WorkerReport {
        commit_wait_seconds: 7.5,
        ..worker(number, &[("Posts", 2.0)])
    };
    let mut recent = recent(vec![waiting(0), waiting(1)]);
    recent.progress = Some(Progress {
        commits: 4,
        commit_seconds: 9.0,
        ..Progress::default()
    });
    let finding = only(&recent);
    assert_eq!(finding.kind, FindingKind::Store);
    assert_eq!((finding.worker, &finding.operator), (None, &None));
    assert_eq!(
        finding.sentence,
        "The view store holds the dataflow up: workers waited 75 % of their time until it had \
         written earlier rows; a commit takes 2.25 s. The operators are not the cause."
    );
}

#[test]
fn a_commit_that_does_not_end_points_at_the_store_before_any_worker_waits() {
    let mut recent = recent(vec![WorkerReport {
        batch_wait_seconds: 9.9,
        ..worker(0, &[])
    }]);
    recent.progress = Some(Progress {
        committing_seconds: 8.0,
        ..Progress::default()
    });
    let finding = only(&recent);
    assert_eq!(finding.kind, FindingKind::Store);
    assert!(
        finding.sentence.contains("in progress has taken 8 s"),
        "{finding:?}"
    );
}

#[test]
fn a_hot_key_points_at_the_worker_and_its_operator_and_not_at_those_that_wait() {
    let waits = |number| WorkerReport {
        parked_seconds: 6.0,
        // The waiting workers spend more time in another operator than in the hot one.
        ..worker(number, &[("Posts", 2.0), ("Hashtags", 0.5)])
    };
    let hot = worker(1, &[("Posts", 2.0), ("Hashtags", 5.0)]);
    let findings = findings(&recent(vec![waits(0), hot, waits(2)]));
    let finding = &findings[0];
    assert_eq!(finding.kind, FindingKind::Worker);
    assert_eq!(finding.worker, Some(1));
    assert_eq!(finding.operator.as_deref(), Some(&[0, 1][..]));
    assert!(
        finding.sentence.starts_with(
            "Worker 1 holds the others up: they waited for it 60 % of their time, while it spent \
             70 % on running operators. Most of the difference is in the operator Hashtags, which \
             took 50 % of its time"
        ),
        "{finding:?}"
    );
}

#[test]
fn a_worker_that_sleeps_points_at_the_worker_and_at_no_operator() {
    let waits = WorkerReport {
        parked_seconds: 8.0,
        ..worker(0, &[("Posts", 1.0)])
    };
    let sleeps = WorkerReport {
        step_seconds: 8.2,
        ..worker(1, &[("Posts", 1.1)])
    };
    let finding = only(&recent(vec![waits, sleeps]));
    assert_eq!(finding.kind, FindingKind::Worker);
    assert_eq!((finding.worker, finding.operator), (Some(1), None));
    assert!(
        finding.sentence.contains("82 % on stepping outside"),
        "{}",
        finding.sentence
    );
}

#[test]
fn a_worker_that_reports_nothing_is_found_at_once() {
    let waits = WorkerReport {
        parked_seconds: 9.0,
        ..worker(0, &[])
    };
    let stuck = WorkerReport {
        running_seconds: 1.0,
        ..worker(1, &[])
    };
    let mut recent = recent(vec![waits, stuck]);
    let finding = findings(&recent)[0].clone();
    assert_eq!(
        (finding.kind, finding.worker),
        (FindingKind::Worker, Some(1))
    );
    assert!(finding.sentence.contains("nothing for 9 s"), "{finding:?}");
    // Reports of other processes arrive with their batches, which wait for a slow commit.
    Arc::make_mut(&mut recent.workers[1]).is_remote = true;
    assert_eq!(stuck_worker(&recent), None);
    Arc::make_mut(&mut recent.workers[1]).is_remote = false;
    let committing = |seconds| {
        Some(Progress {
            committing_seconds: seconds,
            ..Progress::default()
        })
    };
    recent.progress = committing(9.0);
    assert_eq!(findings(&recent)[0].kind, FindingKind::Store);
    recent.progress = committing(2.0);
    assert_eq!(findings(&recent)[0].worker, Some(1));
    // Workers that started at different times are not stuck.
    recent.is_whole_run = true;
    assert_eq!(stuck_worker(&recent), None);
}

#[test]
fn workers_that_wait_for_each_other_in_turn_have_no_cause() {
    let turn = |number| WorkerReport {
        parked_seconds: 3.0,
        batch_wait_seconds: 2.0,
        ..worker(number, &[("Posts", 4.0)])
    };
    let finding = only(&recent(vec![turn(0), turn(1)]));
    assert_eq!(finding.kind, FindingKind::Mixed);
}

#[test]
fn operators_are_the_cause_if_workers_wait_for_nothing() {
    let one = worker(0, &[("Posts", 6.0), ("Links", 3.0)]);
    let finding = only(&recent(vec![one]));
    assert_eq!(finding.kind, FindingKind::Operator);
    assert_eq!(finding.operator.as_deref(), Some(&[0, 0][..]));
    assert_eq!(
        finding.sentence,
        "The operators take 90 % of the workers' time. Posts takes 67 % of it, more than any other \
         operator."
    );
}

#[test]
fn a_dataflow_that_waits_for_input_has_no_cause() {
    let idle = WorkerReport {
        batch_wait_seconds: 9.7,
        ..worker(0, &[("Posts", 0.2)])
    };
    let finding = only(&recent(vec![idle]));
    assert_eq!(finding.kind, FindingKind::Idle);
    // No report yet: nothing is divided by zero.
    assert_eq!(only(&recent(Vec::new())).kind, FindingKind::Mixed);
}

#[test]
fn cuts_that_take_much_time_point_at_checkpoints() {
    let cutting = WorkerReport {
        cut_seconds: 4.0,
        batch_wait_seconds: 5.0,
        ..worker(0, &[])
    };
    assert_eq!(only(&recent(vec![cutting])).kind, FindingKind::Checkpoint);
}

#[test]
fn a_table_that_grows_is_named_with_its_option() {
    let mut recent = recent(Vec::new());
    let growth = |name: &str, before: u64, now: u64| Growth {
        name: name.to_owned(),
        option: Some("INDEXER_INTERACTIONS_DAYS".to_owned()),
        before: before << 20,
        now: now << 20,
        seconds: 300.0,
    };
    recent.growth = vec![growth("a", 1_000, 1_040), growth("pairs", 100, 180)];
    let found = findings(&recent);
    let finding = found.last().expect("a finding");
    assert_eq!(finding.kind, FindingKind::Growth);
    assert_eq!(finding.state.as_deref(), Some("pairs"));
    assert_eq!(
        finding.sentence,
        "pairs grew by 80 MiB to 180 MiB in 300 s, more than any other structure in memory. \
         INDEXER_INTERACTIONS_DAYS changes its size."
    );
    // Neither a small share of a large table, nor growth within seconds.
    recent.growth = vec![growth("a", 1_000, 1_040)];
    assert_eq!(growing(&recent.growth), None);
    recent.growth = vec![Growth {
        seconds: 20.0,
        ..growth("a", 100, 180)
    }];
    assert_eq!(growing(&recent.growth), None);
}

/// Measured with a thread that was stopped for 1.5 of 1.7 s: most of that fell into a wait for
/// batches that had been sent, and the committer waited for the parts of that worker.
#[test]
fn a_worker_without_a_processor_is_the_cause_and_neither_the_store_nor_an_operator() {
    let stopped = WorkerReport {
        parked_seconds: 0.1,
        batch_wait_seconds: 4.0,
        cpu_seconds: Some(0.4),
        ..worker(1, &[("MergeLists", 2.5)])
    };
    let waits = WorkerReport {
        parked_seconds: 6.0,
        commit_wait_seconds: 1.2,
        batch_wait_seconds: 2.0,
        cpu_seconds: Some(0.7),
        ..worker(0, &[("MergeLists", 0.4)])
    };
    let mut recent = recent(vec![waits, stopped.clone()]);
    recent.progress = Some(Progress {
        commits: 10,
        commit_seconds: 0.1,
        ..Progress::default()
    });
    let finding = only(&recent);
    assert_eq!(finding.kind, FindingKind::Worker);
    assert_eq!((finding.worker, &finding.operator), (Some(1), &None));
    assert!(
        finding.sentence.contains("ran its thread for only 7 %"),
        "{finding:?}"
    );
    let busy = WorkerReport {
        cpu_seconds: Some(5.0),
        ..stopped
    };
    recent.workers[1] = Arc::new(busy);
    let finding = only(&recent);
    assert_eq!(finding.operator, Some(vec![0, 0]), "{finding:?}");
}
