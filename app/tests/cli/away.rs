//! A server that is away or refuses writes for a while, under load: nothing is lost, memory is
//! bounded, `/readyz` gives the reason, and everything resumes by itself when the server is back.
//!
//! ```text
//! network, constant rate (open loop) ─▶ `skytide up` ─▶ NATS ─▶ `skytide up` ─▶ MongoDB
//!                                            │         frozen, or killed and started again
//!                     memory, /readyz ◀──────┘
//! afterwards: the log has the network's events, the views equal the recount of the log and agree
//!             with the ledger
//! ```
//!
//! The server is away for `SKYTIDE_TEST_OUTAGE_SECONDS` (8) of the network's time.

pub mod judge;
pub mod load;

use std::sync::{Mutex, PoisonError};

use mongodb::bson::doc;
use skytide_simnet::Frame;
use skytide_simnet::server::State;
use skytide_tests::servers::{Mongo, Nats};

use load::{Load, RATE, Up};

/// The server that is away, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    NatsFrozen,
    NatsKilled,
    MongoFrozen,
    MongoKilled,
    /// It shuts down in order: it refuses what is under way first.
    MongoStopped,
    /// It answers reads, and has no room for writes.
    MongoFull,
}

impl Away {
    /// The part that `/readyz` names, and a part of its reason.
    fn reason(self) -> (&'static str, &'static str) {
        match self {
            Self::NatsFrozen => ("log", "no answer within"),
            Self::NatsKilled => ("log", "no connection to NATS"),
            Self::MongoFrozen | Self::MongoKilled | Self::MongoStopped => {
                ("views", "no answer within")
            }
            Self::MongoFull => ("dataflow", "commits fail and are retried"),
        }
    }

    /// The bytes by which memory may grow, according to the options of [`Up::start`] and the fixed
    /// limits of the queues. In a minute more events arrive than the queues hold; in a few seconds
    /// fewer.
    fn growth_max(self) -> u64 {
        match self {
            Self::NatsFrozen | Self::NatsKilled => load::INGEST_BYTES,
            _ => load::DATAFLOW_BYTES,
        }
    }
}

/// The servers of one test.
struct Servers {
    nats: Nats,
    mongo: Mongo,
}

impl Servers {
    fn take_away(&mut self, away: Away) {
        match away {
            Away::NatsFrozen => self.nats.freeze(),
            Away::NatsKilled => self.nats.kill(),
            Away::MongoFrozen => self.mongo.freeze(),
            Away::MongoKilled => self.mongo.kill(),
            Away::MongoStopped => self.mongo.stop(),
            Away::MongoFull => {
                let writes = ["update", "insert", "delete", "findAndModify"].as_slice();
                let full = doc! { "failCommands": writes, "errorCode": 14_031 };
                let refused = self.mongo.fail_point_now("failCommand", "alwaysOn", full);
                assert_eq!(refused, 0);
            }
        }
    }

    fn bring_back(&mut self, away: Away) {
        match away {
            Away::NatsFrozen => self.nats.thaw(),
            Away::NatsKilled => self.nats.restart(),
            Away::MongoFrozen => self.mongo.thaw(),
            Away::MongoKilled | Away::MongoStopped => self.mongo.restart(),
            Away::MongoFull => {
                let refused = self.mongo.fail_point_now("failCommand", "off", doc! {});
                eprintln!("{refused} commands were refused");
                assert!(
                    refused > 0,
                    "no command was refused: the test proves nothing"
                );
            }
        }
    }
}

/// The observations of an outage.
struct Outage {
    /// The network's state when the server went away, when it returned, and when the process was
    /// ready again.
    gone: State,
    back: State,
    again: State,
    /// The reasons of `/readyz` at the end of the outage.
    reasons: Vec<String>,
    /// Memory before the outage; its maximum while the server was away; its maximum until
    /// everything was counted; and after.
    before: u64,
    during: u64,
    catch_up: u64,
    after: u64,
    /// All frames of the network.
    frames: Vec<Frame>,
}

impl Outage {
    fn run(away: Away, servers: &mut Servers, load: &Load) -> Self {
        let up = Up::start(load, &servers.nats.url(), &servers.mongo.uri());
        up.until_ready(load);
        load.until_more(2 * RATE);
        up.until_ready(load);
        let before = up.memory();

        servers.take_away(away);
        let (gone, (part, why), mut during) = (load.state(), away.reason(), before);
        let end_ms = gone.network_time_ms + load::outage_seconds() * 1_000;
        let reasons = loop {
            let answer = up.ready();
            during = during.max(up.memory());
            if load.state().network_time_ms >= end_ms && answer.is_unready_by(part, why) {
                break answer.reasons;
            }
            load.until_more(RATE / 20);
        };

        servers.bring_back(away);
        let back = load.state();
        let catch_up = up.until_ready(load);
        let again = load.state();
        load.until_more(2 * RATE);
        let frames = load.end();
        let catch_up = catch_up.max(up.until_counted(&frames));
        let after = up.memory();
        up.end();
        Self {
            gone,
            back,
            again,
            reasons,
            before,
            during,
            catch_up,
            after,
            frames,
        }
    }

    /// Bytes of records that became live during the test.
    fn state_bytes(&self) -> u64 {
        (self.frames.len() as u64 - self.gone.frames) * load::STATE_BYTES
    }

    fn report(&self, away: Away) {
        let seconds = |from: &State, to: &State| (to.network_time_ms - from.network_time_ms) / 100;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        eprintln!(
            "{away:?} for {:.1} s, {} frames, {:.0} MiB; /readyz at the end: {:?}",
            seconds(&self.gone, &self.back) as f64 / 10.0,
            self.back.frames - self.gone.frames,
            mib(self.back.bytes - self.gone.bytes),
            self.reasons,
        );
        eprintln!(
            "  memory: {:.0} MiB before; {:.0} during the outage, queues may add {:.0}; {:.0} while catching up, records may add \
             {:.0}; {:.0} after",
            mib(self.before),
            mib(self.during),
            mib(away.growth_max()),
            mib(self.catch_up),
            mib(self.state_bytes()),
            mib(self.after),
        );
        eprintln!(
            "  ready {:.1} s after the server was back; {} frames in all",
            seconds(&self.back, &self.again) as f64 / 10.0,
            self.frames.len(),
        );
    }
}

/// The tests run one at a time, because each measures memory.
static ALONE: Mutex<()> = Mutex::new(());

fn survives(away: Away) {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::with_failpoints()) else {
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut servers = Servers { nats, mongo };
    let load = Load::start();
    let outage = Outage::run(away, &mut servers, &load);
    outage.report(away);
    let during_max = outage.before + away.growth_max();
    assert!(outage.during <= during_max, "memory during the outage");
    // Late events fill all queues at once, and counted records remain in memory.
    let queues = load::INGEST_BYTES + load::DATAFLOW_BYTES;
    let catch_up_max = outage.before + queues + outage.state_bytes();
    assert!(outage.catch_up <= catch_up_max, "memory while catching up");
    let times = load.state().too_slow;
    eprintln!("  disconnected by the relay {times} times");
    judge::compare(&outage.frames, &servers.nats.url(), &servers.mongo.uri());
}

#[test]
fn nats_frozen() {
    survives(Away::NatsFrozen);
}

#[test]
fn nats_killed_and_started_again() {
    survives(Away::NatsKilled);
}

#[test]
fn mongodb_frozen() {
    survives(Away::MongoFrozen);
}

#[test]
fn mongodb_killed_and_started_again() {
    survives(Away::MongoKilled);
}

#[test]
fn mongodb_shut_down_and_started_again() {
    survives(Away::MongoStopped);
}

#[test]
fn mongodb_without_room() {
    survives(Away::MongoFull);
}

/// Whichever server does not answer, a signal ends all services in order and in time: code 0, not
/// the 1 of `SKYTIDE_SHUTDOWN_MAX`.
#[test]
fn a_signal_ends_it_in_order_whichever_server_is_away() {
    let (frozen, killed) = (
        [Away::NatsFrozen, Away::MongoFrozen],
        [Away::NatsKilled, Away::MongoStopped],
    );
    let alone = frozen.iter().chain(&killed).map(std::slice::from_ref);
    for all in alone.chain([&frozen[..], &killed]) {
        let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::with_failpoints()) else {
            return;
        };
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("{all:?}");
        let mut servers = Servers { nats, mongo };
        let load = Load::start();
        let up = Up::start(&load, &servers.nats.url(), &servers.mongo.uri());
        up.until_ready(&load);
        all.iter().for_each(|away| servers.take_away(*away));
        let (part, why) = all[0].reason();
        while !up.ready().is_unready_by(part, why) {
            load.until_more(RATE / 20);
        }
        up.end();
        all.iter().for_each(|away| servers.bring_back(*away));
    }
}
