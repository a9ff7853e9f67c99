//! A server that is away for a while, under load: nothing is lost, memory is bounded, `/readyz` says why, and all goes on
//! by itself when it is back.
//!
//! ```text
//! network: so many frames a second, whatever comes ─▶ `skytide up` ─▶ NATS ─▶ `skytide up` ─▶ MongoDB
//!                                                        │         frozen, or killed and later started again
//!                                memory, /readyz ◀───────┘
//! behind it: the log has the network's events, the views are the recount of the log, and agree with the ledger
//! ```
//!
//! `SKYTIDE_TEST_OUTAGE_SECONDS` (8) of the network go by while the server is away.

mod judge;
mod load;

use std::sync::{Mutex, PoisonError};

use skytide_tests::servers::{Mongo, Nats};

use load::{Load, RATE, Up};

/// What happens to which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    NatsFrozen,
    NatsKilled,
    MongoFrozen,
    MongoKilled,
}

impl Away {
    /// The part that `/readyz` names, and a word of why.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::NatsFrozen => ("log", "no answer within"),
            Self::NatsKilled => ("log", "no connection to NATS"),
            Self::MongoFrozen | Self::MongoKilled => ("views", "no answer within"),
        }
    }

    /// Bytes by which memory may grow, by the options of [`Up::start`] and the fixed limits of the queues. In a minute more
    /// comes than they hold; in a few seconds it does not.
    fn growth_max(self) -> u64 {
        match self {
            Self::NatsFrozen | Self::NatsKilled => load::INGEST_BYTES,
            Self::MongoFrozen | Self::MongoKilled => load::DATAFLOW_BYTES,
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
        }
    }

    fn bring_back(&mut self, away: Away) {
        match away {
            Away::NatsFrozen => self.nats.thaw(),
            Away::NatsKilled => self.nats.restart(),
            Away::MongoFrozen => self.mongo.thaw(),
            Away::MongoKilled => self.mongo.restart(),
        }
    }
}

/// One after the other: each measures.
static ALONE: Mutex<()> = Mutex::new(());

fn survives(away: Away) {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::start()) else {
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut servers = Servers { nats, mongo };
    let load = Load::start();
    let up = Up::start(&load, &servers.nats.url(), &servers.mongo.uri());
    up.until_ready(&load);
    load.until_sent(3 * RATE);
    up.until_ready(&load);
    let before = up.memory();

    servers.take_away(away);
    let (begin, begin_bytes) = (load.sent(), load.sent_bytes());
    let mut without = before;
    let (part, why) = away.told();
    let reasons = loop {
        let answer = up.ready();
        without = without.max(up.memory());
        let is_over = load.sent() >= begin + load::outage_seconds() * RATE;
        if is_over && answer.is_unready_by(part, why) {
            break answer.reasons;
        }
        load.until_sent(load.sent() + RATE / 20);
    };
    let (missed, missed_bytes) = (load.sent() - begin, load.sent_bytes() - begin_bytes);

    servers.bring_back(away);
    let back = load.sent();
    let mut behind = up.until_ready(&load);
    let late = load.sent() - back;
    load.until_sent(load.sent() + 2 * RATE);
    let frames = load.end();
    behind = behind.max(up.until_counted(&frames));
    let after = up.memory();
    up.end();

    let queues = away.growth_max();
    let state = (frames.len() as u64 - begin) * load::STATE_BYTES;
    let seconds = |frames: u64| frames as f64 / RATE as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{away:?} for {:.0} s ({missed} frames, {:.0} MiB): {reasons:?}\n  memory: {:.0} MiB before, {:.0} without it \
         (queues: {:.0}), {:.0} behind (state: {:.0}), {:.0} after\n  ready again after {:.1} s, {} frames in all, \
         cut off by the relay {} times",
        seconds(missed),
        mib(missed_bytes),
        mib(before),
        mib(without),
        mib(queues),
        mib(behind),
        mib(state),
        mib(after),
        seconds(late),
        frames.len(),
        load.too_slow(),
    );
    assert!(without <= before + queues, "{away:?}: memory without it");
    assert!(behind <= before + queues + state, "{away:?}: memory behind");
    judge::compare(&frames, &servers.nats.url(), &servers.mongo.uri());
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
