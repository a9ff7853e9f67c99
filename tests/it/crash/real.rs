//! The same crashes with the log on a real NATS and the views on a real MongoDB. The servers are
//! meanwhile killed, frozen and made to refuse commands.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use skytide_core::config::{self, Span};
use skytide_core::port::BoxError;
use skytide_core::port::store::ViewReader;
use skytide_dataflow::Ports;
use skytide_embedded::EmbeddedCheckpoints;
use skytide_mongodb::MongoStore;
use skytide_nats::NatsLog;
use skytide_tests::checkers::difference;
use skytide_tests::faulty::Plan;
use skytide_tests::servers::{Mongo, Nats};
use skytide_tests::world::Random;

use super::process::{self, Backend, Ending, Stretch};
use super::{CRASHES_MAX, faults, seeds};

/// A backend with a stream and a database of its own, and a folder for the checkpoints.
struct Real {
    nats: config::Nats,
    mongo: config::Mongo,
    folder: tempfile::TempDir,
}

#[async_trait]
impl Backend for Real {
    async fn open(&self) -> Result<Ports, BoxError> {
        Ok(Ports {
            log: Arc::new(NatsLog::connect(&self.nats).await?),
            store: Arc::new(MongoStore::connect(&self.mongo).await?),
            checkpoints: Some(Arc::new(EmbeddedCheckpoints::open(self.folder.path())?)),
        })
    }

    async fn reader(&self) -> Result<Arc<dyn ViewReader>, BoxError> {
        Ok(Arc::new(MongoStore::connect(&self.mongo).await?))
    }
}

/// A fault of a server while a process is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    NatsKilled,
    NatsFrozen,
    MongoStopped,
    MongoFrozen,
    /// Its disk is full: it rejects all writes.
    MongoFull,
    /// It reports that it is not the primary, and accepts no rows.
    MongoSecondary,
    /// It executes the command, but reports that the write concern was not met.
    MongoUnsure,
}

/// All blows, used in turn: each seed strikes its first process with one of them.
const BLOWS: [Blow; 7] = [
    Blow::NatsKilled,
    Blow::NatsFrozen,
    Blow::MongoStopped,
    Blow::MongoFrozen,
    Blow::MongoFull,
    Blow::MongoSecondary,
    Blow::MongoUnsure,
];

/// Number of commands that fail by one blow. Each attempt at a commit ends with the first failing
/// command.
const REFUSED: i32 = 4;

/// Maximum number of processes without faults, one of which must complete the stream.
const PROCESSES_MAX: usize = 5;
/// How long a server stays frozen, and the interval at which the test checks whether to strike. No
/// result depends on either.
const FROZEN: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(1);

struct Servers {
    nats: Nats,
    mongo: Mongo,
}

impl Blow {
    /// The commands of MongoDB that fail, and their error.
    fn refused(self) -> Option<Document> {
        let all = ["update", "insert", "delete", "findAndModify"].as_slice();
        let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
        match self {
            Self::MongoFull => Some(doc! { "failCommands": all, "errorCode": 14_031 }),
            Self::MongoSecondary => Some(doc! { "failCommands": ["update"], "errorCode": 10_107 }),
            Self::MongoUnsure => {
                Some(doc! { "failCommands": ["update"], "writeConcernError": concern })
            }
            _ => None,
        }
    }
}

impl Servers {
    fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::NatsKilled => {
                self.nats.kill();
                self.nats.restart();
            }
            Blow::NatsFrozen => {
                self.nats.freeze();
                std::thread::sleep(FROZEN);
                self.nats.thaw();
            }
            Blow::MongoStopped => {
                self.mongo.stop();
                self.mongo.restart();
            }
            Blow::MongoFrozen => {
                self.mongo.freeze();
                std::thread::sleep(FROZEN);
                self.mongo.thaw();
            }
            Blow::MongoFull | Blow::MongoSecondary | Blow::MongoUnsure => {
                let data = blow.refused().expect("it refuses");
                let some = doc! { "times": REFUSED };
                self.mongo.fail_point_now("failCommand", some, data);
            }
        }
    }

    /// Disables all refusals; returns how many commands the server has refused so far.
    fn accept(&self) -> i64 {
        self.mongo.fail_point_now("failCommand", "off", doc! {})
    }
}

/// What a process counts, where, and with which faults.
struct Attempt<'a> {
    stretch: &'a Stretch,
    backend: &'a Real,
    plan: &'a Plan,
}

/// Runs a process and strikes the servers at its nth commit, with a random n; returns whether the
/// blow took effect.
fn run_struck(
    attempt: &Attempt<'_>,
    servers: &Mutex<Servers>,
    blow: Option<Blow>,
    random: &mut Random,
) -> (Ending, bool) {
    let nth = 1 + random.below(3) as u32;
    let refuses = blow.is_some_and(|blow| blow.refused().is_some());
    let refused = || match refuses {
        true => servers.lock().expect("nobody panicked").accept(),
        false => 0,
    };
    let before = refused();
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let striking = threads.spawn(|| {
            let Some(blow) = blow else { return false };
            while attempt
                .plan
                .calls()
                .get("store.commit")
                .is_none_or(|calls| *calls < nth)
            {
                if over.load(Ordering::Relaxed) {
                    return false;
                }
                std::thread::sleep(POLL);
            }
            servers.lock().expect("nobody panicked").strike(blow);
            true
        });
        let ending = process::run(attempt.stretch, attempt.backend, attempt.plan, random);
        over.store(true, Ordering::Relaxed);
        let struck = striking.join().expect("no panic");
        (ending, struck && (!refuses || refused() > before))
    })
}

#[test]
fn after_any_crash_on_real_servers_every_view_equals_the_recount() {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::with_failpoints()) else {
        return;
    };
    // A client trusts a server that says it is not the primary, until its next heartbeat.
    let (nats_url, mongo_uri) = (nats.url(), mongo.uri() + "&heartbeatFrequencyMS=500");
    let servers = Mutex::new(Servers { nats, mongo });
    let (mut struck, mut crashes) = (BTreeSet::new(), 0);
    let seeds = seeds("SKYTIDE_TEST_CRASHES_REAL", 20);
    for &seed in &seeds {
        let mut random = Random::new(seed);
        let stretch = Stretch::random(&mut random);
        let expected = stretch.expected();
        let backend = backend(seed, &nats_url, &mongo_uri);
        let mut blow = Some(BLOWS[seed as usize % BLOWS.len()]);
        for _ in 0..1 + random.below(CRASHES_MAX) {
            let plan = Plan::new(faults(&mut random, false));
            let attempt = Attempt {
                stretch: &stretch,
                backend: &backend,
                plan: &plan,
            };
            let (ending, hit) = run_struck(&attempt, &servers, blow, &mut random);
            eprintln!(
                "seed {seed}: {ending:?}, {blow:?} {hit}, {:?}",
                plan.fired()
            );
            struck.extend(blow.filter(|_| hit));
            // A process that ended before its blow leaves the blow to the next process.
            blow = blow.filter(|_| !hit);
            crashes += usize::from(matches!(ending, Ending::Crashed));
            if matches!(ending, Ending::Whole) {
                break;
            }
        }
        // The remaining processes have no faults, except for a blow that has not yet taken effect.
        // If a process ends because of it, or because it lost its lease on a busy machine, the next
        // one starts, as under a supervisor.
        let mut endings = Vec::new();
        while !matches!(endings.last(), Some(Ending::Whole)) {
            assert!(
                endings.len() < PROCESSES_MAX,
                "seed {seed}, without faults: {endings:?}"
            );
            let calm = Plan::new(Vec::new());
            let last = blow.take();
            let attempt = Attempt {
                stretch: &stretch,
                backend: &backend,
                plan: &calm,
            };
            let (ending, hit) = run_struck(&attempt, &servers, last, &mut random);
            struck.extend(last.filter(|_| hit));
            endings.push(ending);
        }
        if let Some(text) = difference(&expected, &process::rows(&backend)) {
            panic!("seed {seed}, {stretch:?}: {text}");
        }
    }
    eprintln!(
        "{} runs, {crashes} crashes, servers struck: {struck:?}",
        seeds.len()
    );
    if seeds.len() >= 20 {
        assert!(crashes >= 10, "{crashes} crashes");
        assert_eq!(
            struck.len(),
            BLOWS.len(),
            "servers were only struck by {struck:?}"
        );
    }
}

fn backend(seed: u64, nats: &str, mongo: &str) -> Real {
    let name = format!("crash-{}-{seed}", std::process::id());
    let mut nats = config::Nats::at(nats).expect("an address");
    nats.stream = name.parse().expect("a name");
    nats.bytes_max = Some("100MiB".parse().expect("a size"));
    let mut mongo = config::Mongo::at(mongo).expect("an address");
    mongo.database = name.parse().expect("a name");
    mongo.lease_ttl = Span(Duration::from_secs(2));
    mongo.operation_max = Span(Duration::from_secs(3));
    Real {
        nats,
        mongo,
        folder: tempfile::tempdir().expect("a folder"),
    }
}
