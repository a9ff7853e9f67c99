//! `skytide doctor`: checks what a service needs, and says what to fix.
//!
//! ```text
//! options ─▶ folder ─▶ disk ─▶ machine ─▶ network ─▶ servers ─▶ running      one Finding or more each,
//!                                                                           each check with a time limit
//! flight records of running and failed services ─▶ bundle
//! ```
//!
//! What reads files runs on other threads: a file system that does not answer delays doctor by the
//! limit of one check, and no more.
//!
//! No check changes data: the folder gets a temporary file, and MongoDB a temporary collection. No
//! finding contains a secret.

pub mod bundle;
mod clock;
mod disk;
pub mod finding;
mod folder;
mod locks;
mod machine;
mod metrics;
mod network;
mod options;
mod running;
mod servers;

use std::time::Duration;

use skytide_core::config::Config;
use skytide_core::port::clock::Clock;
use tokio::time::timeout;

use crate::cli::doctor::Service;
use crate::clock::SystemClock;
use crate::flight::client::{FlightRecord, records};
use crate::flight::masks::Masks;
use finding::{Finding, Report};

/// What the checks need to know.
pub struct Examination<'a> {
    /// The options.
    pub config: &'a Config,
    /// The names of the options that were set.
    pub set: Vec<String>,
    /// The service whose needs are checked.
    pub service: Service,
    /// How long one check may take.
    pub time_max: Duration,
    /// The secrets in the options.
    pub masks: Masks,
}

impl Examination<'_> {
    /// Runs all checks. Returns the findings, and the flight records of the running services.
    pub async fn run(&self) -> (Report, Vec<FlightRecord>) {
        let Self {
            config, service, ..
        } = *self;
        let (options, set) = (config.clone(), self.set.clone());
        let checked = blocking(move || options::check(&options, &set, service));
        let mut findings = self.limited("options", checked).await;
        let (running, silent) = records(&config.store.dir, self.time_max).await;
        let live = running.iter().find_map(metrics::Metrics::newest_of);
        let folder = config.store.dir.clone();
        let lock = folder.join("store.lock");
        let lock = answer(self.time_max, move || locks::holder(&lock));
        let lock = lock.await.flatten();
        findings.extend(
            self.limited("folder", blocking(move || folder::check(&folder)))
                .await,
        );
        let disk_options = disk::Wanted::of(config, service, &running);
        findings.extend(
            self.limited("disk", blocking(move || disk::check(&disk_options)))
                .await,
        );
        let live_records = live
            .as_ref()
            .and_then(|it| it.value("indexer_live_records"));
        findings.extend(machine::check(config, service, live_records));
        findings.extend(self.limited("port", network::ports(config, service)).await);
        let mut clocks = Vec::new();
        if network::reads_relay(service) {
            for relay in network::relays(config) {
                let checked = network::relay(&relay, &mut clocks);
                findings.extend(self.limited("relay", checked).await);
            }
        }
        if servers::uses_nats(config, service) {
            let checked = servers::nats(config, &mut clocks);
            findings.extend(self.limited("nats", checked).await);
        }
        if servers::uses_mongodb(config, service) {
            let checked = servers::mongodb(config, service, self.time_max, &mut clocks);
            // It has limits of its own.
            findings.extend(checked.await);
        }
        findings.push(clock::check(&clocks));
        findings.extend(running::check(&running, &silent, lock));
        let findings = findings.into_iter().map(|it| it.masked(&self.masks));
        let report = Report::new(service, SystemClock.now(), findings.collect());
        (report, running)
    }

    /// The findings of a check, or a problem if it takes too long.
    async fn limited(
        &self,
        name: &'static str,
        check: impl Future<Output = Vec<Finding>>,
    ) -> Vec<Finding> {
        let checked = timeout(self.time_max, check).await;
        checked.unwrap_or_else(|_| {
            let seconds = self.time_max.as_secs();
            let found = format!("no answer within {seconds} s");
            let fix = "check that the server or the disk answers; --timeout allows more time";
            vec![Finding::problem(name, found, fix)]
        })
    }
}

/// What a function returns that may block; `None` if it takes longer than this, or panics.
pub async fn answer<T: Send + 'static>(
    time_max: Duration,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let answered = timeout(time_max, tokio::task::spawn_blocking(ask)).await;
    answered.ok().and_then(Result::ok)
}

/// Runs a check on a thread that may block: a network file system may not answer.
async fn blocking(check: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Vec<Finding> {
    let checked = tokio::task::spawn_blocking(check).await;
    checked.unwrap_or_else(|_| {
        let fix = "report this error with the version of skytide";
        vec![Finding::problem("doctor", "a check panicked", fix)]
    })
}
