//! Random delays.

use super::*;
use crate::driver::delay::{delay_ms, delayed};

/// A job that sends requests to servers of others, and records when it runs.
#[derive(Default)]
struct Requests(std::sync::Mutex<Vec<u64>>);

static STARTED: tokio::sync::OnceCell<Instant> = tokio::sync::OnceCell::const_new();

#[async_trait]
impl Job for Requests {
    fn name(&self) -> &'static str {
        "requests"
    }

    fn uses_foreign_servers(&self) -> bool {
        true
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let started = STARTED.get().expect("set by the test");
        let ms = started.elapsed().as_millis() as u64;
        self.0.lock().expect("no panic").push(ms);
        Ok(Report::Nothing("fine"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_uses_foreign_servers_is_delayed_by_a_fixed_time_also_when_it_catches_up() {
    STARTED.set(Instant::now()).expect("used by one test");
    let store = MemoryJobs::default();
    let due = Some(moment(-60));
    let plan = JobPlan {
        due,
        ..JobPlan::default()
    };
    store.plan("requests", &plan).await.expect("planned");
    let (requests, slow) = (Arc::new(Requests::default()), Arc::new(Slow::default()));
    let jobs = vec![
        scheduled(requests.clone(), "0 * * * * *"),
        scheduled(slow, "0 * * * * *"),
    ];
    let scheduler = scheduler_with(jobs, Arc::new(store.clone()), 7);
    let job = scheduled(requests.clone(), "0 * * * * *");
    let other_process = scheduler_with(vec![job], Arc::new(store.clone()), 8);
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(59)).await;
    let delay = delay_ms(7, "requests", Duration::from_secs(20));
    assert!((1..20_000).contains(&delay), "{delay}");
    let dues = scheduler.status().into_iter().map(|status| status.due);
    let expected = [Timestamp(moment(60).0 + delay), moment(60)].map(Some);
    assert_eq!(dues.collect::<Vec<_>>(), expected);
    let stored = stored_state(&store).await;
    assert_eq!(
        (stored.name.as_str(), stored.plan.due),
        ("requests", expected[0])
    );
    sleep(Duration::from_secs(120)).await;
    let runs = requests.0.lock().expect("no panic").clone();
    assert_eq!(runs, [delay, 60_000 + delay, 120_000 + delay]);

    // Another process, with another delay, shows the due time of the process that runs the job,
    // and does not replace it when it runs the job once.
    let stop = CancellationToken::new();
    let ran = other_process.run_once("requests", &stop).await;
    assert!(ran.expect("it has run").ok());
    let due = Some(Timestamp(moment(180).0 + delay));
    let states = other_process.states().await.expect("read");
    assert_eq!(states[0].plan.due, due);
    assert_eq!(stored_state(&store).await.plan.due, due);
}

#[test]
fn delays_are_spread_below_the_limit_and_never_reach_the_next_due_time() {
    let limit = Duration::from_secs(10);
    let delays: Vec<_> = (0..1_000)
        .map(|seed| delay_ms(seed, "profiles", limit))
        .collect();
    assert!(delays.iter().all(|delay| *delay < 10_000));
    for second in 0..10 {
        let within = delays
            .iter()
            .filter(|delay| **delay / 1_000 == second)
            .count();
        assert!(
            (50..150).contains(&within),
            "{within} of 1,000 in second {second}"
        );
    }
    assert_eq!(delay_ms(1, "profiles", Duration::ZERO), 0);
    let (due, next) = (Timestamp(60_000), Timestamp(63_000));
    for delay in delays {
        let delayed = delayed(due, delay, Some(next));
        assert!((due..next).contains(&delayed), "{delay}");
    }
    assert_eq!(delayed(due, 9_999, None), Timestamp(69_999));
    assert_eq!(delayed(due, 9_999, Some(due)), due);
}

/// A job that uses servers of others, and takes no time.
#[derive(Default)]
struct Quick(AtomicU64);

#[async_trait]
impl Job for Quick {
    fn name(&self) -> &'static str {
        "quick"
    }

    fn uses_foreign_servers(&self) -> bool {
        true
    }

    async fn run(&self) -> Result<Report, BoxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Report::Nothing("fine"))
    }
}

#[tokio::test(start_paused = true)]
async fn schedulers_with_different_delays_run_a_due_job_once() {
    let (store, job) = (Arc::new(MemoryJobs::default()), Arc::new(Quick::default()));
    let limit = Duration::from_secs(20);
    let delays = [7, 8, 9].map(|seed| delay_ms(seed, "quick", limit));
    assert!(
        delays[0] != delays[1] && delays[1] != delays[2],
        "{delays:?}"
    );
    // A run was missed, which each of them would catch up.
    let due = Some(moment(-60));
    let plan = JobPlan {
        due,
        ..JobPlan::default()
    };
    store.plan("quick", &plan).await.expect("planned");
    for seed in [7, 8, 9] {
        let jobs = vec![scheduled(job.clone(), "0 * * * * *")];
        let scheduler = scheduler_with(jobs, store.clone(), seed);
        tokio::spawn(scheduler.run(CancellationToken::new()));
    }
    for runs in 1..=5 {
        sleep(Duration::from_secs(30)).await;
        assert_eq!(job.0.load(Ordering::SeqCst), runs);
        sleep(Duration::from_secs(30)).await;
    }
}
