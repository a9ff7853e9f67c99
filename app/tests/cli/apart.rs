//! The four services as separate processes, any of which is killed at any moment.
//!
//! ```text
//! network ─▶ ingest ─▶ NATS ─▶ index ─▶ MongoDB ─▶ serve ─▶ clients
//!            ingest, standby  index, standby  └─▶ schedule
//! ```
//!
//! A killed process is started again, sooner or later; if it has a standby, the standby takes over.
//! In the end the log has the network's events, the views equal the recount of the log and agree
//! with the ledger, and `serve` returns the same numbers. `SKYTIDE_TEST_SEED` determines which
//! process is killed when.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use skytide_core::config;
use skytide_core::port::log::{Bounds, Log};
use skytide_core::port::store::{Control, ViewReader};
use skytide_mongodb::MongoStore;
use skytide_nats::NatsLog;
use skytide_simnet::{Frame, Ledger};
use skytide_tests::servers::{Mongo, Nats};
use tokio::runtime::Runtime;

use crate::away::judge;
use crate::away::load::{Load, Ready, body, until_counted};
use crate::killed::Random;
use crate::process::Place;
use crate::services::Running;

/// The network's rate in frames per second.
const RATE: u64 = 150;
/// Number of kills of each service.
const KILLS: usize = 2;
/// Maximum number of posts that are compared in the end.
const POSTS_MAX: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ingest,
    Index,
    Schedule,
    Serve,
}

const SERVICES: [Service; 4] = [
    Service::Ingest,
    Service::Index,
    Service::Schedule,
    Service::Serve,
];

/// A running process of a service.
struct One {
    service: Service,
    running: Running,
    address: String,
    err: PathBuf,
}

impl One {
    fn id(&self) -> u32 {
        self.running.0.id()
    }

    /// Its standard error so far.
    fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).expect("a file")
    }

    fn is_ready(&self) -> bool {
        let ready: Ready = serde_json::from_str(&body(&self.address, "/readyz")).expect("JSON");
        ready.is_ready()
    }

    /// Terminates the process by a signal and expects a clean exit.
    fn end(mut self) {
        self.running.signal("-TERM");
        let status = self.running.0.wait().expect("an exit status");
        assert_eq!(
            status.code(),
            Some(0),
            "{:?}: {}",
            self.service,
            self.stderr()
        );
    }
}

/// A network, the servers, and the running processes.
struct System {
    runtime: Runtime,
    load: Load,
    nats: Nats,
    mongo: Mongo,
    store: MongoStore,
    log: NatsLog,
    database: Database,
    ones: Vec<One>,
    started: usize,
    /// Two folders, each of which may be the STORE_DIR of an `index`.
    places: [Place; 2],
}

impl System {
    fn new() -> Option<Self> {
        let (nats, mongo) = (Nats::start()?, Mongo::start()?);
        let runtime = Runtime::new().expect("a runtime");
        let of_views = config::Mongo::at(&mongo.uri()).expect("an address");
        let of_log = config::Nats::at(&nats.url()).expect("an address");
        let (store, log, client) = runtime.block_on(async {
            (
                MongoStore::connect(&of_views).await.expect("a server"),
                NatsLog::connect(&of_log).await.expect("a server"),
                Client::with_uri_str(mongo.uri()).await.expect("an address"),
            )
        });
        Some(Self {
            runtime,
            load: Load::start_at(RATE),
            store,
            log,
            database: client.database(of_views.database.as_str()),
            nats,
            mongo,
            ones: Vec::new(),
            started: 0,
            places: [Place::new(), Place::new()],
        })
    }

    /// Starts a service and waits until it prints its address.
    fn start(&mut self, service: Service) -> u32 {
        self.start_in(0, service, &["--indexer-log-keep=all"])
    }

    /// The same in one of the folders. `keep` is the option of an `index` for retaining the log.
    fn start_in(&mut self, place: usize, service: Service, keep: &[&str]) -> u32 {
        let url = format!("--firehose-url={}", self.load.url());
        let probe = "--skytide-probe-address=127.0.0.1:0";
        let args: &[&str] = match service {
            Service::Ingest => &[
                "ingest",
                &url,
                "--firehose-start=oldest",
                "--firehose-tick-events-max=100",
                "--nats-bytes-max=1GiB",
                probe,
            ],
            Service::Index => &[
                "index",
                "--indexer-checkpoint-interval=1s",
                "--indexer-checkpoint-events=500",
                "--mongodb-lease-ttl=3s",
                probe,
            ],
            Service::Schedule => &["schedule", "--scheduler-snapshot-cron=* * * * * *", probe],
            Service::Serve => &["serve", "--api-address=127.0.0.1:0"],
        };
        let more = if service == Service::Index { keep } else { &[] };
        let place = &self.places[place];
        let err = place.path().join(format!("err-{}", self.started));
        self.started += 1;
        let mut command = place.command(&[args, more].concat());
        command.env("NATS_URL", self.nats.url());
        command.env("MONGODB_URI", self.mongo.uri());
        let file = File::create(&err).expect("a file");
        let child = command.stdout(Stdio::piped()).stderr(file).spawn();
        let mut running = Running(child.expect("the binary starts"));
        let out = running.0.stdout.take().expect("piped");
        let line = BufReader::new(out).lines().next();
        let stderr = || std::fs::read_to_string(&err).expect("a file");
        let line = line.unwrap_or_else(|| panic!("{service:?}: {}", stderr()));
        let line = line.expect("text");
        let address = line.split("http://").nth(1).expect("an address");
        let address = address.split('/').next().expect("host and port");
        self.ones.push(One {
            service,
            address: address.to_owned(),
            running,
            err,
        });
        self.ones.last().expect("a process").id()
    }

    fn control(&self) -> Control {
        let control = self.runtime.block_on(self.store.control());
        control.expect("a control record")
    }

    /// The epoch of the newest commit; 0 before the first one.
    fn epoch(&self) -> u64 {
        self.control().committed.map_or(0, |it| it.epoch.0)
    }

    fn bounds(&self) -> Bounds {
        self.runtime.block_on(self.log.bounds()).expect("a log")
    }

    /// Number of complete snapshots.
    fn snapshots(&self) -> u64 {
        let snapshots = self.database.collection::<Document>("snapshots");
        let count = self
            .runtime
            .block_on(snapshots.count_documents(doc! {}).into_future());
        count.expect("a server")
    }

    /// Number of complete checkpoints in one of the folders.
    fn checkpoints(&self, place: usize) -> usize {
        let folder = self.places[place].path().join("data/checkpoints");
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.path());
        names
            .filter(|path| path.extension().is_some_and(|it| it == "manifest"))
            .count()
    }

    fn of(&self, service: Service) -> impl Iterator<Item = &One> {
        self.ones.iter().filter(move |one| one.service == service)
    }

    /// The id of the active process of a service.
    fn working(&self, service: Service) -> Option<u32> {
        match service {
            Service::Index => {
                let control = self.database.collection::<Document>("control");
                let lease = control.find_one(doc! { "_id": "lease" });
                let lease = self
                    .runtime
                    .block_on(lease.into_future())
                    .expect("a server")?;
                let holder = lease.get_i64("process").expect("a number");
                let mut all = self.of(service).map(One::id);
                all.find(|id| i64::from(*id) == holder)
            }
            _ => self.of(service).find(|one| one.is_ready()).map(One::id),
        }
    }

    /// Whether the active indexer started from a checkpoint.
    fn has_restored(&self) -> bool {
        let leads = self.working(Service::Index);
        let leads = self.ones.iter().find(|one| Some(one.id()) == leads);
        let metrics = body(&leads.expect("an active indexer").address, "/metrics");
        let mut lines = metrics.lines();
        let seconds = lines.find_map(|line| line.strip_prefix("indexer_restore_seconds "));
        let seconds: f64 = seconds.expect("the metric").parse().expect("a number");
        seconds > 0.0
    }

    /// The id of a standby process of a service.
    fn waiting(&self, service: Service) -> Option<u32> {
        let working = self.working(service);
        self.of(service)
            .map(One::id)
            .find(|id| Some(*id) != working)
    }

    /// Waits until the condition holds, while the network sends.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        eprintln!("  until {what}");
        while !holds(self) {
            self.look_after();
            self.load.until_more(RATE / 20);
        }
    }

    /// Restarts an indexer that exited because another one took over after its lease had expired.
    fn look_after(&mut self) {
        for place in 0..self.ones.len() {
            let ended = self.ones[place].running.0.try_wait();
            if let Some(status) = ended.expect("a status") {
                let one = self.ones.remove(place);
                let stderr = one.stderr();
                let replaced = one.service == Service::Index && stderr.contains("fenced");
                assert!(replaced, "{:?} ended with {status}: {stderr}", one.service);
                eprintln!("  an index lost its lease and is started again");
                self.start(Service::Index);
                return;
            }
        }
    }

    fn take(&mut self, id: u32) -> One {
        let place = self.ones.iter().position(|one| one.id() == id);
        self.ones.remove(place.expect("a running process"))
    }

    /// Kills a process by SIGKILL; returns it, no longer running.
    fn kill(&mut self, id: u32) -> One {
        let mut one = self.take(id);
        let ended = one.running.0.try_wait().expect("a status");
        assert_eq!(ended, None, "the process exited before: {}", one.stderr());
        one.running.0.kill().expect("killed");
        let status = one.running.0.wait().expect("dead");
        assert_eq!(status.signal(), Some(9), "{status}");
        one
    }

    fn until_all_work(&mut self) {
        self.until("all services are active", |system| {
            SERVICES.iter().all(|it| system.working(*it).is_some())
        });
        let epoch = self.epoch();
        self.until("events are counted", |system| system.epoch() > epoch);
    }

    /// Kills the active process of a service and waits until the service works again. Returns
    /// whether a standby took over.
    fn strike(&mut self, service: Service, random: &mut Random) -> bool {
        let victim = self.working(service).expect("an active process");
        let waiting = self.waiting(service);
        let (snapshots, bounds) = (self.snapshots(), self.bounds());
        let before = self.control();
        let dead = self.kill(victim);
        let left = self.control().intent;
        eprintln!(
            "killed {service:?} {victim}, at epoch {:?}, incomplete commit: {left:?}",
            before.committed.map(|it| it.epoch)
        );
        assert!(
            TcpStream::connect(&dead.address).is_err(),
            "the killed process still listens"
        );
        let at_once = waiting.is_none() || random.below(2) == 0;
        if at_once {
            self.start(service);
        }
        let epoch = self.epoch();
        match service {
            Service::Ingest => self.until("another writer appends to the log", |system| {
                system.working(service).is_some() && system.bounds().next > bounds.next
            }),
            Service::Index => self.until("another indexer leads and commits", |system| {
                let control = system.control();
                control.term > before.term
                    && system.working(service).is_some()
                    && system.epoch() > epoch
            }),
            Service::Schedule => self.until("a snapshot is taken", |system| {
                system.snapshots() > snapshots
            }),
            Service::Serve => self.until("it answers", |system| system.working(service).is_some()),
        }
        let took_over = self.working(service);
        if !at_once {
            self.start(service);
        }
        let took_over = waiting.is_some() && took_over == waiting;
        if took_over {
            eprintln!("  the standby has taken over");
        }
        took_over
    }
}

/// Compares the numbers that `serve` returns for accounts and posts with those of the ledger.
fn compare_with_ledger(address: &str, frames: &[Frame]) {
    let mut ledger = Ledger::default();
    frames.iter().for_each(|frame| ledger.add(frame));
    let totals = ledger.totals();
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_str(&body(address, path)).expect("JSON")
    };
    let events: usize = frames.iter().map(|frame| frame.events.len()).sum();
    let network = json("/v1/network");
    assert_eq!(network["counters"]["events"].as_u64(), Some(events as u64));
    assert_eq!(
        network["counters"]["frames"].as_u64(),
        Some(frames.len() as u64)
    );
    for (did, followers) in &totals.followers {
        let found = json(&format!("/v1/actors/{did}"));
        let blockers = totals.blockers.get(did).copied().unwrap_or_default();
        let found = ["followers", "blockers"].map(|name| found["counts"][name].as_u64());
        assert_eq!(found, [Some(*followers), Some(blockers)], "{did}");
    }
    let names = ["likes", "reposts", "replies", "root_replies", "quotes"];
    for (post, tallies) in totals.posts.iter().take(POSTS_MAX) {
        let found = json(&format!("/v1/posts/{post}"));
        let found = names.map(|name| found[name].as_u64());
        assert_eq!(found, tallies.map(Some), "{post}");
    }
    let (accounts, posts) = (totals.followers.len(), totals.posts.len().min(POSTS_MAX));
    eprintln!("{events} events; {accounts} accounts and {posts} posts equal the ledger");
    assert!(accounts > 20 && posts > 100, "too few to prove anything");
}

#[test]
fn killed_services_are_replaced_and_every_view_equals_the_recount() {
    let Some(mut system) = System::new() else {
        return;
    };
    let mut random = Random::new();
    for service in SERVICES {
        system.start(service);
    }
    system.until_all_work();
    system.until("a checkpoint exists", |system| system.checkpoints(0) > 0);
    let (ingest, index) = (
        system.working(Service::Ingest),
        system.working(Service::Index),
    );
    system.start(Service::Ingest);
    system.start(Service::Index);

    let mut order = SERVICES.repeat(KILLS);
    for place in (1..order.len()).rev() {
        order.swap(place, random.below(place as u64 + 1) as usize);
    }
    let mut taken_over = 0;
    for service in order {
        system.until_all_work();
        system.load.until_more(1 + random.below(RATE));
        taken_over += usize::from(system.strike(service, &mut random));
        if service == Service::Index {
            assert!(system.has_restored(), "no checkpoint was restored");
        }
    }
    eprintln!("{taken_over} take-overs by a standby");
    assert_ne!(
        (
            system.working(Service::Ingest),
            system.working(Service::Index)
        ),
        (ingest, index)
    );
    assert!(taken_over > 0, "no standby has taken over");

    system.until_all_work();
    let frames = system.load.end();
    let serve = system.working(Service::Serve).expect("an active process");
    let serve = system.take(serve);
    until_counted(&serve.address, &frames, || {});
    for service in [Service::Index, Service::Ingest, Service::Schedule] {
        // The standby is stopped first, because it would take over.
        while let Some(id) = system.waiting(service).or(system.working(service)) {
            system.take(id).end();
        }
    }
    compare_with_ledger(&serve.address, &frames);
    serve.end();
    judge::compare(&frames, &system.nats.url(), &system.mongo.uri());
}

/// Checkpoints are only in STORE_DIR. An index with another folder counts the log from the start.
#[test]
fn an_index_in_a_separate_folder_takes_over_if_the_log_is_complete() {
    let Some(mut system) = System::new() else {
        return;
    };
    system.start(Service::Ingest);
    let first = system.start(Service::Index);
    system.until("the first indexer leads", |system| {
        system.working(Service::Index) == Some(first)
    });
    system.until("it has a checkpoint", |system| system.checkpoints(0) > 0);
    let second = system.start_in(1, Service::Index, &["--indexer-log-keep=none"]);
    let (epoch, end) = (system.epoch(), system.bounds().next);
    system.kill(first);
    system.until("the second indexer commits", |system| {
        system.working(Service::Index) == Some(second) && system.epoch() > epoch
    });
    assert!(!system.has_restored(), "it has no checkpoint");
    system.until(
        "the log is trimmed after everything that the first indexer has seen",
        |system| system.bounds().first > end,
    );

    let first = system.start(Service::Index);
    system.kill(second);
    let mut refused = system.take(first);
    let status = refused.running.0.wait().expect("an exit status");
    let stderr = refused.stderr();
    assert_eq!(status.code(), Some(1), "{stderr}");
    for text in [
        "the log begins at ",
        "no checkpoint covers the part before it",
        "it needs the log from ",
        "--indexer-rebuild=true",
    ] {
        assert!(stderr.contains(text), "{text:?} is not in {stderr}");
    }

    let epoch = system.epoch();
    let second = system.start_in(1, Service::Index, &["--indexer-log-keep=none"]);
    system.until("the indexer with the checkpoints commits", |system| {
        system.working(Service::Index) == Some(second) && system.epoch() > epoch
    });
}
