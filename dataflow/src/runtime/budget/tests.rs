use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use skytide_core::event::{Body, Event, Message, Sources, Tick};
use skytide_core::id::{Cursor, Seq};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog, MemoryStore};
use skytide_core::port::graph::WorkerReport;
use skytide_core::port::log::Log;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::runtime::batch::Epochs;
use crate::runtime::checkpoint::{CheckpointOptions, LogKeep};
use crate::runtime::command::{BatchInput, Command};
use crate::runtime::source::Source;
use crate::{DataflowError, Links, Name, Options, Peer, Ports};

const LIMIT: u64 = 1_000;

/// A meter that reports what a test sets.
#[derive(Default)]
struct Meter {
    used_bytes: AtomicU64,
    /// What `release` releases.
    releasable_bytes: AtomicU64,
    releases: AtomicU64,
    /// Notified when only free memory is returned: by workers while the source waits.
    returned: Notify,
}

impl Meter {
    fn with(used_bytes: u64) -> Arc<Self> {
        let meter = Arc::new(Self::default());
        meter.set(used_bytes);
        meter
    }

    fn set(&self, used_bytes: u64) {
        self.used_bytes.store(used_bytes, Ordering::SeqCst);
    }

    fn limit(self: &Arc<Self>) -> Option<MemoryLimit> {
        Some(MemoryLimit {
            bytes_max: LIMIT,
            meter: self.clone(),
        })
    }
}

impl MemoryMeter for Meter {
    fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::SeqCst)
    }

    fn release(&self) {
        self.releases.fetch_add(1, Ordering::SeqCst);
        let released = self.releasable_bytes.swap(0, Ordering::SeqCst);
        self.used_bytes.fetch_sub(released, Ordering::SeqCst);
    }

    fn return_free(&self) {
        self.returned.notify_one();
    }
}

fn end(epoch: u64) -> End {
    End {
        epoch: Epoch(epoch),
        time: Timestamp(epoch),
        since: Timestamp(1),
        log_seq: Seq(epoch),
        hash: 0,
        restored: false,
        events: 1,
        bytes: 1,
        epochs: 1,
    }
}

/// A budget after its restart.
async fn counting(meter: &Arc<Meter>, threads: usize, metrics: &Arc<Metrics>) -> Budget {
    let mut budget = Budget::new(meter.limit(), threads, &[], metrics.clone());
    assert!(budget.admits(&end(1)).await);
    budget
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_the_first_batch_after_it_are_not_stopped() {
    let (meter, metrics) = (Meter::with(2_000), Arc::new(Metrics::default()));
    let ends = [Epoch(4), Epoch(7)];
    let mut budget = Budget::new(meter.limit(), 1, &ends, metrics.clone());
    for epoch in [3, 7, 9] {
        assert!(budget.admits(&end(epoch)).await, "epoch {epoch}");
        let excess = metrics.memory_excess().expect("it is over its limit");
        assert_eq!((excess.process, excess.waits), (0, false));
    }
    assert_eq!(meter.releases.load(Ordering::SeqCst), 0);
    assert!(!budget.admits(&end(10)).await);
    assert!(metrics.memory_excess().is_some_and(|it| it.waits));
}

#[tokio::test(start_paused = true)]
async fn a_wait_lasts_until_memory_is_below_95_percent_of_the_limit() {
    let (meter, metrics) = (Meter::with(LIMIT), Arc::new(Metrics::default()));
    let mut budget = counting(&meter, 1, &metrics).await;
    metrics.batches_pending.set(1);
    assert!(budget.admits(&end(2)).await, "the limit may be reached");
    assert_eq!(metrics.memory_excess(), None);
    meter.set(LIMIT + 1);
    assert!(!budget.admits(&end(3)).await);
    assert!(budget.is_waiting());
    let started = Instant::now();
    for (used, waits) in [(LIMIT, true), (950, true), (949, false)] {
        meter.set(used);
        budget.recheck().await;
        assert_eq!(budget.is_waiting(), waits, "{used} bytes");
        let excess = metrics.memory_excess();
        assert_eq!(excess.map(|it| it.memory.used_bytes), waits.then_some(used));
    }
    assert_eq!(started.elapsed(), RECHECK * 3);
    assert!(budget.admits(&end(3)).await);
    // Once when the wait began, and twice while memory did not allow batches.
    assert_eq!(meter.releases.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn what_can_be_released_is_released_before_the_source_waits() {
    let (meter, metrics) = (Meter::with(1_200), Arc::new(Metrics::default()));
    let mut budget = counting(&meter, 1, &metrics).await;
    meter.releasable_bytes.store(300, Ordering::SeqCst);
    assert!(budget.admits(&end(2)).await);
    assert_eq!(metrics.memory_excess(), None);
    // 960 bytes are left, which is less than the limit and too near to it.
    meter.set(1_200);
    meter.releasable_bytes.store(240, Ordering::SeqCst);
    assert!(!budget.admits(&end(3)).await);
}

#[tokio::test(start_paused = true)]
async fn a_follower_over_its_limit_stops_the_source_until_it_reports_less() {
    let (meter, metrics) = (Meter::with(10), Arc::new(Metrics::default()));
    let mut budget = counting(&meter, 2, &metrics).await;
    let report = |worker: usize, used_bytes: u64| {
        metrics.record_remote_report(WorkerReport {
            worker,
            memory: Some(MemoryUse {
                used_bytes,
                bytes_max: 500,
            }),
            ..WorkerReport::default()
        });
    };
    report(2, 400);
    report(4, 501);
    assert!(!budget.admits(&end(2)).await);
    let process = metrics.memory_excess().map(|it| it.process);
    assert_eq!(process, Some(2), "workers 4 and 5 are those of process 2");
    assert_eq!(meter.releases.load(Ordering::SeqCst), 0);
    budget.recheck().await;
    assert!(budget.is_waiting());
    assert_eq!(meter.releases.load(Ordering::SeqCst), 0);
    report(4, 300);
    budget.recheck().await;
    assert!(!budget.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_a_batch_in_flight_ends_once_memory_stays_within_the_limit() {
    let (meter, metrics) = (Meter::with(LIMIT + 1), Arc::new(Metrics::default()));
    let mut budget = counting(&meter, 1, &metrics).await;
    metrics.batches_pending.set(1);
    assert!(!budget.admits(&end(2)).await);
    // The memory in use, whether a batch is in flight, and whether the source waits afterwards.
    let checks = [
        (980, 1, true),
        (980, 1, true),
        (980, 0, true),
        (LIMIT + 1, 0, true),
        (980, 0, true),
        (LIMIT, 0, false),
    ];
    for (check, (used, in_flight, waits)) in checks.into_iter().enumerate() {
        meter.set(used);
        metrics.batches_pending.set(in_flight);
        budget.recheck().await;
        assert_eq!(budget.is_waiting(), waits, "check {check}");
        assert_eq!(metrics.memory_excess().is_some(), waits, "check {check}");
    }
}

#[tokio::test(start_paused = true)]
async fn caches_that_filled_again_are_released_during_a_wait() {
    let (meter, metrics) = (Meter::with(LIMIT + 1), Arc::new(Metrics::default()));
    let mut budget = counting(&meter, 1, &metrics).await;
    assert!(!budget.admits(&end(2)).await);
    meter.releasable_bytes.store(500, Ordering::SeqCst);
    budget.recheck().await;
    assert!(!budget.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn a_worker_returns_free_memory_unless_the_source_may_continue() {
    for (used, returns) in [(949, false), (950, true), (LIMIT, true), (LIMIT + 1, true)] {
        let meter = Meter::with(used);
        meter.limit().expect("a limit").return_free();
        let returned = tokio::time::timeout(Duration::ZERO, meter.returned.notified()).await;
        assert_eq!(returned.is_ok(), returns, "{used} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_is_measured() {
    let metrics = Arc::new(Metrics::default());
    let mut budget = Budget::new(None, 1, &[], metrics.clone());
    for epoch in 1..4 {
        assert!(budget.admits(&end(epoch)).await);
    }
    assert_eq!(metrics.memory_excess(), None);
}

fn event(seq: u64) -> Message {
    let letter = char::from(b'a' + (seq % 20) as u8);
    let did = format!("did:plc:{}", String::from(letter).repeat(24));
    let handle = Some(format!("{letter}{seq}.example").into());
    Message::Event(Event {
        host: Arc::from("relay.example"),
        seq: Cursor(seq),
        index: 0,
        time: Timestamp(seq * 1_000),
        did: did.parse().expect("a DID"),
        body: Body::Identity { handle, sent: None },
    })
}

/// Epochs of one event each.
fn epochs(numbers: std::ops::RangeInclusive<u64>) -> Vec<Message> {
    let epoch = |number: u64| {
        let tick = Message::Tick(Tick {
            epoch: Epoch(number),
            time: Timestamp(number * 1_000),
            host: Arc::from("relay.example"),
            cursor: Cursor(number),
            frames: number,
            last: false,
            idle: false,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        });
        [event(number), tick]
    };
    numbers.flat_map(epoch).collect()
}

async fn append(log: &MemoryLog, messages: Vec<Message>) {
    let mut writer = log.writer().await.expect("there is no other writer");
    writer.append(messages).await.expect("memory accepts it");
    writer.flush().await.expect("memory accepts it");
}

/// A source of the whole log with batches of one epoch, and what it sends to its only worker.
async fn source(
    log: &MemoryLog,
    meter: &Arc<Meter>,
    metrics: &Arc<Metrics>,
) -> (Source, mpsc::Receiver<Command>) {
    let (sender, commands) = mpsc::channel(1);
    let source = Source {
        restore: None,
        reader: log.reader(Seq(1)).await.expect("memory answers"),
        read_ahead: Vec::new(),
        epochs: Epochs::default(),
        names: crate::records::Names::default(),
        through: Vec::new(),
        workers: vec![sender],
        pending_commit: None,
        ends: Vec::new(),
        budget: Budget::new(meter.limit(), 1, &[], metrics.clone()),
        planner: None,
        batch_events_max: 1_000,
        batch_bytes_max: 1 << 20,
        batch_epochs_max: 1,
        until_last: false,
        metrics: metrics.clone(),
        stop: CancellationToken::new(),
    };
    (source, commands)
}

/// The epoch at the end of the next batch, after any requests to return free memory.
async fn next_batch(commands: &mut mpsc::Receiver<Command>) -> Option<u64> {
    loop {
        match commands.recv().await? {
            Command::Feed(BatchInput { end, .. }) => return Some(end.epoch.0),
            Command::Build(_) => return None,
            Command::Report => {}
        }
    }
}

/// Waits until the source requests that the worker returns free memory.
async fn report_requested(commands: &mut mpsc::Receiver<Command>) {
    let command = commands.recv().await;
    assert!(matches!(command, Some(Command::Report)), "{command:?}");
}

#[tokio::test(start_paused = true)]
async fn the_source_sends_no_batch_while_it_waits_and_continues_with_the_next_one() {
    let (meter, metrics) = (Meter::with(2_000), Arc::new(Metrics::default()));
    let log = MemoryLog::new(1);
    append(&log, epochs(1..=4)).await;
    let (source, mut commands) = source(&log, &meter, &metrics).await;
    let stop = source.stop.clone();
    let running = tokio::spawn(source.run());
    assert_eq!(next_batch(&mut commands).await, Some(1));
    // It waits for as long as the memory is in use, and measures once a second.
    for _ in 0..5 {
        report_requested(&mut commands).await;
    }
    assert!(metrics.memory_excess().is_some_and(|it| it.waits));
    meter.set(100);
    for epoch in 2..=4 {
        assert_eq!(next_batch(&mut commands).await, Some(epoch));
    }
    assert_eq!(metrics.memory_excess(), None);
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_waits_stops_at_once() {
    let (meter, metrics) = (Meter::with(2_000), Arc::new(Metrics::default()));
    let log = MemoryLog::new(1);
    append(&log, epochs(1..=3)).await;
    let (source, mut commands) = source(&log, &meter, &metrics).await;
    let stop = source.stop.clone();
    let running = tokio::spawn(source.run());
    assert_eq!(next_batch(&mut commands).await, Some(1));
    report_requested(&mut commands).await;
    let stopped = Instant::now();
    stop.cancel();
    running.await.expect("no panic").expect("no error");
    assert_eq!(stopped.elapsed(), Duration::ZERO);
    assert_eq!(next_batch(&mut commands).await, None);
}

/// Runs the dataflow on these ports until the store has the commit of this epoch, and there is a
/// checkpoint if they have storage for checkpoints.
async fn run_through(
    epoch: u64,
    ports: &Ports,
    memory: Option<MemoryLimit>,
    metrics: &Arc<Metrics>,
) {
    let options = Options {
        workers: 2,
        batch_epochs_max: 1,
        memory,
        checkpoint: CheckpointOptions {
            interval: None,
            events: Some(1),
            shards_per_cut: Some(64),
            log_keep: LogKeep::All,
            ..CheckpointOptions::default()
        },
        ..Options::default()
    };
    let stop = CancellationToken::new();
    let running = crate::run(options, ports.clone(), metrics.clone(), stop.clone());
    let running = tokio::spawn(running);
    let is_committed = async || committed(ports).await.map(|it| it.epoch) == Some(Epoch(epoch));
    let has_checkpoint = async || match &ports.checkpoints {
        Some(checkpoints) => !checkpoints.list().await.expect("memory answers").is_empty(),
        None => true,
    };
    loop {
        let is_done = is_committed().await && has_checkpoint().await;
        if is_done || running.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}

async fn committed(ports: &Ports) -> Option<Committed> {
    let control = ports.store.control().await.expect("memory answers");
    control.committed
}

#[tokio::test]
async fn a_restart_over_the_limit_completes_and_its_rows_are_exact() {
    let log = MemoryLog::new(1);
    let ports = |checkpoints: Option<MemoryCheckpoints>| Ports {
        log: Arc::new(log.clone()),
        store: Arc::new(MemoryStore::default()),
        checkpoints: checkpoints.map(|it| Arc::new(it) as Arc<_>),
    };
    let counted = ports(Some(MemoryCheckpoints::new()));
    append(&log, epochs(1..=20)).await;
    run_through(20, &counted, None, &Arc::default()).await;
    append(&log, epochs(21..=40)).await;

    let (meter, metrics) = (Meter::with(2_000), Arc::<Metrics>::default());
    let observe = async {
        meter.returned.notified().await;
        assert!(metrics.memory_excess().is_some_and(|it| it.waits));
        // Batches in flight are completed.
        while metrics.batches_pending.get() > 0 {
            tokio::task::yield_now().await;
        }
        // The restart ended, and one commit followed it.
        let epoch = committed(&counted).await.map(|it| it.epoch);
        assert_eq!((epoch, metrics.catching_up.get()), (Some(Epoch(21)), 0));
        assert!(metrics.restore_seconds.get() > 0.0, "nothing was restored");
        meter.set(100);
    };
    tokio::join!(run_through(40, &counted, meter.limit(), &metrics), observe);
    let whole = ports(None);
    run_through(40, &whole, None, &Arc::default()).await;
    let sums = async |ports: &Ports| committed(ports).await.map(|it| (it.epoch, it.sums));
    let found = sums(&counted).await;
    assert!(
        found.as_ref().is_some_and(|(_, sums)| sums.len() > 3),
        "{found:?}"
    );
    assert_eq!(found, sums(&whole).await);
}

/// The connections of two processes to each other.
fn connected() -> [Links; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("any port");
    let address = listener.local_addr().expect("its address");
    let leader = TcpStream::connect(address).expect("a connection");
    let (follower, _) = listener.accept().expect("a connection");
    let links = |process: usize, other: usize, socket: TcpStream| {
        socket.set_nodelay(true).expect("an open socket");
        let name = Name {
            process: other,
            host: format!("host-{other}"),
        };
        Links::new(process, vec![Peer { name, socket }])
    };
    [links(0, 1, leader), links(1, 0, follower)]
}

#[tokio::test]
async fn a_process_of_a_cluster_over_its_limit_stops_counting_until_it_reports_less() {
    let log = MemoryLog::new(1);
    append(&log, epochs(1..=30)).await;
    let ports = Ports {
        log: Arc::new(log),
        store: Arc::new(MemoryStore::default()),
        checkpoints: None,
    };
    let [leader, follower] = connected();
    let meter = Meter::with(2_000);
    let options = Options {
        memory: meter.limit(),
        ..Options::default()
    };
    let never = CancellationToken::new();
    let following =
        tokio::spawn(async move { crate::follow(follower, &options, Arc::default(), never).await });
    let options = Options {
        batch_epochs_max: 1,
        ..Options::default()
    };
    let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
    let leading = crate::lead(
        options,
        ports.clone(),
        leader,
        metrics.clone(),
        stop.clone(),
    );
    let leading = tokio::spawn(leading);
    // The follower was asked for a report, and returned free memory before.
    meter.returned.notified().await;
    let excess = metrics.memory_excess();
    assert_eq!(excess.map(|it| (it.process, it.waits)), Some((1, true)));
    assert!(committed(&ports).await.map(|it| it.epoch) < Some(Epoch(30)));
    meter.set(100);
    while !leading.is_finished() && committed(&ports).await.map(|it| it.epoch) < Some(Epoch(30)) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    leading.await.expect("no panic").expect("no error");
    let ended = following.await.expect("no panic");
    assert!(
        matches!(ended, Err(DataflowError::LeaderEnded { .. })),
        "{ended:?}"
    );
    assert_eq!(committed(&ports).await.map(|it| it.epoch), Some(Epoch(30)));
}
