//! `skytide schedule --run`, `--list` and `--history`, alone and beside a process that has the store
//! open.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use crate::process::{Place, Ran, recording};
use crate::replaying::succeeds;
use crate::services::{NOWHERE, Running};

/// A service that has the store open, once it listens for requests.
fn start(place: &Place, args: &[&str]) -> Running {
    let (mut service, _) = Running::start(place.command(args));
    while UnixStream::connect(place.path().join("data/export.sock")).is_err() {
        assert_eq!(service.0.try_wait().expect("it was started"), None);
        std::thread::yield_now();
    }
    service
}

/// A place with a counted recording in `data`.
fn counted() -> Place {
    let place = Place::new();
    succeeds(&place.run(&["replay", &recording("pds.frames.zst"), "--data", "data"]));
    place
}

fn run_job(place: &Place, job: &str) -> Ran {
    place.run(&["schedule", "--run", job])
}

/// The scheduler as a service, without schedules.
const SERVICE: [&str; 4] = [
    "schedule",
    "--skytide-probe-address=127.0.0.1:0",
    "--scheduler-snapshot-cron=never",
    "--scheduler-retention-cron=never",
];

#[test]
fn a_job_runs_beside_up() {
    let place = Place::new();
    let up = ["up", NOWHERE, "--api-address=127.0.0.1:0"];
    let service = start(&place, &up);
    let ran = run_job(&place, "snapshot");
    succeeds(&ran);
    assert_eq!(ran.out, "snapshot: nothing to do: nothing is counted yet\n");
    service.signal("-TERM");
    assert_eq!(service.end().0, Some(0));
}

#[test]
fn a_job_runs_beside_a_scheduler_and_its_run_is_in_the_history_of_both() {
    let place = counted();
    let service = start(&place, &SERVICE);
    let ran = run_job(&place, "snapshot");
    succeeds(&ran);
    assert!(ran.out.starts_with("snapshot: stored "), "{ran:?}");
    let holder = format!("process {} has the store open", service.0.id());
    assert!(ran.err.contains(&holder), "{ran:?}");
    let again = run_job(&place, "snapshot");
    succeeds(&again);
    let nothing = "snapshot: nothing to do: no commit since the last snapshot\n";
    assert_eq!(again.out, nothing);

    let unknown = run_job(&place, "snap");
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let known = "there is no job \"snap\"; there are: profiles, retention, snapshot";
    assert!(unknown.err.contains(known), "{unknown:?}");

    // This process has no schedules of its own: the answer is that of the service.
    let list = place.run(&["schedule", "--list"]);
    succeeds(&list);
    let lines: Vec<_> = list.out.lines().collect();
    assert_eq!(lines.len(), 3, "{list:?}");
    assert_eq!(lines[0], "profiles   due never, never ran");
    assert!(
        lines[2].starts_with("snapshot   due never, did at "),
        "{list:?}"
    );
    let history = place.run(&["schedule", "--history", "snapshot"]);
    succeeds(&history);
    let runs: Vec<_> = history.out.lines().collect();
    assert_eq!(runs.len(), 2, "{history:?}");
    assert!(runs[0].contains("  command   ok           "), "{history:?}");
    assert!(runs[1].contains(" s  stored "), "{history:?}");

    service.signal("-TERM");
    assert_eq!(service.end().0, Some(0));
    // Without the service, this process opens the store and reads the same.
    let alone = place.run(&["schedule", "--history", "snapshot"]);
    assert_eq!((alone.out, alone.err), (history.out, String::new()));
    let ran = run_job(&place, "snapshot");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (nothing, ""));
    let unknown = place.run(&["schedule", "--history", "snap"]);
    assert!(unknown.err.contains(known), "{unknown:?}");
}

#[test]
fn a_job_that_already_runs_is_not_started_again() {
    let place = counted();
    // The job `profiles` waits for the answer of this server.
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", server.local_addr().expect("its address"));
    let url = format!("--scheduler-profiles-url={url}");
    let service = start(
        &place,
        &[&SERVICE[..], &[&url, "--scheduler-profiles-timeout=60s"]].concat(),
    );
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run_job(&place, "profiles"));
        let (waiting, _) = server.accept().expect("a request");
        let second = run_job(&place, "profiles");
        assert_eq!(second.code, Some(3), "{second:?}");
        let refused = "job \"profiles\" was not started: it has been running since 20";
        assert!(second.err.contains(refused), "{second:?}");
        let list = place.run(&["schedule", "--list"]);
        assert!(
            list.out.contains("profiles   due never, running since 20"),
            "{list:?}"
        );
        drop((waiting, server));
        let first = first.join().expect("no panic");
        assert_eq!(first.code, Some(1), "{first:?}");
        assert!(first.err.contains("job \"profiles\" failed"), "{first:?}");
    });
    let history = place.run(&["schedule", "--history", "profiles"]);
    assert!(
        history.out.contains("  command   failed       "),
        "{history:?}"
    );
    service.signal("-TERM");
    assert_eq!(service.end().0, Some(0));
}

#[test]
fn a_process_without_a_scheduler_refuses_to_run_jobs() {
    let place = counted();
    let service = start(&place, &["serve", "--api-address=127.0.0.1:0"]);
    for args in [
        ["schedule", "--run", "snapshot"].as_slice(),
        &["schedule", "--list"],
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("this process runs no jobs"), "{ran:?}");
    }
    service.signal("-TERM");
    assert_eq!(service.end().0, Some(0));
}
