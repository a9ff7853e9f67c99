//! The four services as processes of their own, any of which is killed at any moment.
//!
//! ```text
//! network ─▶ ingest ─▶ NATS ─▶ index ─▶ MongoDB ─▶ serve ─▶ whoever asks
//!            ingest, waits     index, waits    └─▶ schedule
//! ```
//!
//! What is killed is started again, sooner or later, and where another one waits that one takes over. In the end the log has
//! the network's events, the views are the recount of the log and agree with the ledger, and `serve` tells the same.
//! `SKYTIDE_TEST_SEED` decides who is killed when.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use skytide::mongo::MongoStore;
use skytide::nats::NatsLog;
use skytide_core::config;
use skytide_core::port::log::{Bounds, Log};
use skytide_core::port::store::{Control, ViewReader};
use skytide_simnet::{Frame, Ledger};
use skytide_tests::servers::{Mongo, Nats};
use tokio::runtime::Runtime;

use crate::away::judge;
use crate::away::load::{Load, Ready, body, until_counted};
use crate::killed::Random;
use crate::process::Place;
use crate::services::Running;

/// Frames a second of the network.
const RATE: u64 = 150;
/// How often each service is killed.
const KILLS: usize = 2;
/// Posts that are asked for in the end.
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

/// A process.
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

    /// What it has told so far.
    fn told(&self) -> String {
        std::fs::read_to_string(&self.err).expect("a file")
    }

    fn is_ready(&self) -> bool {
        let ready: Ready = serde_json::from_str(&body(&self.address, "/readyz")).expect("JSON");
        ready.is_ready()
    }

    /// Ends it as a signal does.
    fn end(mut self) {
        self.running.signal("-TERM");
        let status = self.running.0.wait().expect("it ends");
        assert_eq!(
            status.code(),
            Some(0),
            "{:?}: {}",
            self.service,
            self.told()
        );
    }
}

/// A network, the servers, and the processes.
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
    /// Two of them: each may be the STORE_DIR of an `index`.
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

    /// Starts one, and waits until it tells its address.
    fn start(&mut self, service: Service) -> u32 {
        self.start_in(0, service, &["--indexer-log-keep=all"])
    }

    /// The same in one of the folders; `keep`: how much of the log an `index` keeps.
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
        let mut running = Running(child.expect("it starts"));
        let out = running.0.stdout.take().expect("piped");
        let line = BufReader::new(out).lines().next();
        let told = || std::fs::read_to_string(&err).expect("a file");
        let line = line.unwrap_or_else(|| panic!("{service:?}: {}", told()));
        let line = line.expect("text");
        let address = line.split("http://").nth(1).expect("an address");
        let address = address.split('/').next().expect("host and port");
        self.ones.push(One {
            service,
            address: address.to_owned(),
            running,
            err,
        });
        self.ones.last().expect("just started").id()
    }

    fn control(&self) -> Control {
        let control = self.runtime.block_on(self.store.control());
        control.expect("a control record")
    }

    /// The newest committed epoch; 0 before the first.
    fn epoch(&self) -> u64 {
        self.control().committed.map_or(0, |it| it.epoch.0)
    }

    fn bounds(&self) -> Bounds {
        self.runtime.block_on(self.log.bounds()).expect("a log")
    }

    /// Snapshots that are whole.
    fn snapshots(&self) -> u64 {
        let snapshots = self.database.collection::<Document>("snapshots");
        let count = self
            .runtime
            .block_on(snapshots.count_documents(doc! {}).into_future());
        count.expect("a server")
    }

    /// Whole checkpoints in one of the folders.
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

    /// Who does the work; the process's number.
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

    /// Whether the indexer that leads began with a checkpoint.
    fn has_restored(&self) -> bool {
        let leads = self.working(Service::Index);
        let leads = self.ones.iter().find(|one| Some(one.id()) == leads);
        let metrics = body(&leads.expect("one leads").address, "/metrics");
        let mut lines = metrics.lines();
        let seconds = lines.find_map(|line| line.strip_prefix("indexer_restore_seconds "));
        let seconds: f64 = seconds.expect("it is there").parse().expect("a number");
        seconds > 0.0
    }

    /// Whoever is there and does not do the work.
    fn waiting(&self, service: Service) -> Option<u32> {
        let working = self.working(service);
        self.of(service)
            .map(One::id)
            .find(|id| Some(*id) != working)
    }

    /// Waits, as long as the network sends.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        eprintln!("  until {what}");
        while !holds(self) {
            self.look_after();
            self.load.until_more(RATE / 20);
        }
    }

    /// An indexer that was not heard of for the time of its lease ends when another one has taken over, and is started again.
    fn look_after(&mut self) {
        for place in 0..self.ones.len() {
            let ended = self.ones[place].running.0.try_wait();
            if let Some(status) = ended.expect("it can be asked") {
                let one = self.ones.remove(place);
                let told = one.told();
                let replaced = one.service == Service::Index && told.contains("fenced");
                assert!(replaced, "{:?} ended with {status}: {told}", one.service);
                eprintln!("  an index was too slow for its lease, and is started again");
                self.start(Service::Index);
                return;
            }
        }
    }

    fn take(&mut self, id: u32) -> One {
        let place = self.ones.iter().position(|one| one.id() == id);
        self.ones.remove(place.expect("it is there"))
    }

    /// SIGKILL; answers what is left of it.
    fn kill(&mut self, id: u32) -> One {
        let mut one = self.take(id);
        let ended = one.running.0.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "it ended before: {}", one.told());
        one.running.0.kill().expect("killed");
        let status = one.running.0.wait().expect("dead");
        assert_eq!(status.signal(), Some(9), "{status}");
        one
    }

    fn all_is_well(&mut self) {
        self.until("all are at work", |system| {
            SERVICES.iter().all(|it| system.working(*it).is_some())
        });
        let epoch = self.epoch();
        self.until("events are counted", |system| system.epoch() > epoch);
    }

    /// Kills the one that does the work, and waits until it goes on; answers whether one that waited has taken over.
    fn strike(&mut self, service: Service, random: &mut Random) -> bool {
        let victim = self.working(service).expect("it is at work");
        let waiting = self.waiting(service);
        let (snapshots, bounds) = (self.snapshots(), self.bounds());
        let before = self.control();
        let dead = self.kill(victim);
        let left = self.control().intent;
        eprintln!(
            "killed {service:?} {victim}, at epoch {:?}, a commit begun: {left:?}",
            before.committed.map(|it| it.epoch)
        );
        assert!(
            TcpStream::connect(&dead.address).is_err(),
            "it still listens"
        );
        let at_once = waiting.is_none() || random.below(2) == 0;
        if at_once {
            self.start(service);
        }
        let epoch = self.epoch();
        match service {
            Service::Ingest => self.until("the log grows by another writer", |system| {
                system.working(service).is_some() && system.bounds().next > bounds.next
            }),
            Service::Index => self.until("another one leads and commits", |system| {
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
            eprintln!("  the one that waited has taken over");
        }
        took_over
    }
}

/// Each number that the ledger has of an account, as `serve` tells it.
fn tells_the_ledger(address: &str, frames: &[Frame]) {
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
        let told = json(&format!("/v1/actors/{did}"));
        let blockers = totals.blockers.get(did).copied().unwrap_or_default();
        let told = ["followers", "blockers"].map(|name| told["counts"][name].as_u64());
        assert_eq!(told, [Some(*followers), Some(blockers)], "{did}");
    }
    let names = ["likes", "reposts", "replies", "root_replies", "quotes"];
    for (post, tallies) in totals.posts.iter().take(POSTS_MAX) {
        let told = json(&format!("/v1/posts/{post}"));
        let told = names.map(|name| told[name].as_u64());
        assert_eq!(told, tallies.map(Some), "{post}");
    }
    let (accounts, posts) = (totals.followers.len(), totals.posts.len().min(POSTS_MAX));
    eprintln!("{events} events; {accounts} accounts and {posts} posts told as the ledger has them");
    assert!(accounts > 20 && posts > 100, "too few to be a test");
}

#[test]
fn any_service_killed_again_and_again_is_replaced_and_every_view_equals_the_recount() {
    let Some(mut system) = System::new() else {
        return;
    };
    let mut random = Random::new();
    for service in SERVICES {
        system.start(service);
    }
    system.all_is_well();
    system.until("there is a checkpoint", |system| system.checkpoints(0) > 0);
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
        system.all_is_well();
        system.load.until_more(1 + random.below(RATE));
        taken_over += usize::from(system.strike(service, &mut random));
        if service == Service::Index {
            assert!(system.has_restored(), "it took no checkpoint in");
        }
    }
    eprintln!("{taken_over} take-overs by one that waited");
    assert_ne!(
        (
            system.working(Service::Ingest),
            system.working(Service::Index)
        ),
        (ingest, index)
    );
    assert!(taken_over > 0, "nobody who waited has taken over");

    system.all_is_well();
    let frames = system.load.end();
    let serve = system.working(Service::Serve).expect("it is at work");
    let serve = system.take(serve);
    until_counted(&serve.address, &frames, || {});
    for service in [Service::Index, Service::Ingest, Service::Schedule] {
        // The one that waits would take over.
        while let Some(id) = system.waiting(service).or(system.working(service)) {
            system.take(id).end();
        }
    }
    tells_the_ledger(&serve.address, &frames);
    serve.end();
    judge::compare(&frames, &system.nats.url(), &system.mongo.uri());
}

/// Checkpoints are in STORE_DIR only: with another one it counts the log from its beginning, as long as that is there.
#[test]
fn an_index_in_a_folder_of_its_own_takes_over_while_the_log_reaches_back_far_enough() {
    let Some(mut system) = System::new() else {
        return;
    };
    system.start(Service::Ingest);
    let first = system.start(Service::Index);
    system.until("the first one leads", |system| {
        system.working(Service::Index) == Some(first)
    });
    system.until("it has a checkpoint", |system| system.checkpoints(0) > 0);
    let second = system.start_in(1, Service::Index, &["--indexer-log-keep=none"]);
    let (epoch, end) = (system.epoch(), system.bounds().next);
    system.kill(first);
    system.until("the second one goes on", |system| {
        system.working(Service::Index) == Some(second) && system.epoch() > epoch
    });
    assert!(!system.has_restored(), "there was nothing to take in");
    system.until(
        "the log is trimmed behind all that the first one knew",
        |system| system.bounds().first > end,
    );

    let first = system.start(Service::Index);
    system.kill(second);
    let mut refused = system.take(first);
    let status = refused.running.0.wait().expect("it ends");
    let told = refused.told();
    assert_eq!(status.code(), Some(1), "{told}");
    for text in [
        "the log begins at ",
        "no checkpoint leads to there",
        "it needs the log from ",
        "--indexer-rebuild=true",
    ] {
        assert!(told.contains(text), "{text:?} is not in {told}");
    }

    let epoch = system.epoch();
    let second = system.start_in(1, Service::Index, &["--indexer-log-keep=none"]);
    system.until("the one with the checkpoints goes on", |system| {
        system.working(Service::Index) == Some(second) && system.epoch() > epoch
    });
}
