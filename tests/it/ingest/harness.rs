//! Runs ingest in a test, and reads what it has written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_core::event::{Event, Message, Tick};
use skytide_core::memory::MemoryLog;
use skytide_core::port::clock::{Clock, ManualClock};
use skytide_core::port::log::Log;
use skytide_core::time::Timestamp;
use skytide_ingest::assemble::Setup;
use skytide_ingest::assemble::filter::Filter;
use skytide_ingest::frame::Verify;
use skytide_ingest::{
    Context, IngestError, Metrics, Options, Progress, RelayOptions, RelaySource, Source, Status,
    Summary, run,
};
use skytide_tests::relay::RelayServer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::frames::NOON;

/// How a test assembles the stream of a host: no filters, epochs of 5,000 events.
pub fn setup(host: &str, live: bool) -> Setup {
    Setup {
        host: host.into(),
        former_hosts: Vec::new(),
        cursor_reset: false,
        live,
        verify: Verify::Records,
        filter: Filter::load(&options()).unwrap(),
        tick_events_max: 5_000,
        pause_ticks: 3,
    }
}

/// Options for a test: short epochs, no filters.
pub fn options() -> Options {
    Options {
        collections: Vec::new(),
        dids_allow: None,
        dids_deny: None,
        verify: Verify::Records,
        tick_interval: Duration::from_millis(5),
        tick_events_max: 5_000,
        samples: None,
        stop_grace: Duration::from_secs(5),
        cursor_reset: false,
    }
}

/// Options of a relay client that reconnects at once and never times out.
pub fn relay_options(relay: &RelayServer) -> RelayOptions {
    relay_options_at(relay.url())
}

/// The same for any relay's address.
pub fn relay_options_at(url: String) -> RelayOptions {
    RelayOptions {
        url: url.parse().unwrap(),
        start: skytide_core::config::Start::Oldest,
        read_timeout: Duration::ZERO,
        ping_interval: Duration::ZERO,
        connect_timeout: Duration::from_secs(60),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        message_bytes_max: 5_000_000,
        attempts_max: None,
        seed: 1,
    }
}

/// A clock that always shows the end of the day on which all frames were made.
pub fn clock() -> Arc<dyn Clock> {
    let clock = ManualClock::default();
    clock.set(Timestamp(NOON + 86_400_000));
    Arc::new(clock)
}

/// A running ingest.
pub struct Running {
    pub log: Arc<dyn Log>,
    pub stop: CancellationToken,
    pub registry: Registry,
    pub progress: Arc<Mutex<Vec<Progress>>>,
    pub status: Status,
    task: JoinHandle<Result<Summary, IngestError>>,
}

impl Running {
    /// Starts ingest from a relay into an empty log.
    pub fn from_relay(relay: &RelayServer) -> Self {
        Self::relay(relay_options(relay), options(), Arc::new(MemoryLog::new(1)))
    }

    /// Starts ingest from a relay.
    pub fn relay(relay: RelayOptions, options: Options, log: Arc<dyn Log>) -> Self {
        let source = RelaySource::new(relay, clock()).unwrap();
        Self::start(Box::new(source), options, log)
    }

    /// Starts ingest.
    pub fn start(source: Box<dyn Source>, options: Options, log: Arc<dyn Log>) -> Self {
        Self::start_all(vec![source], (options, clock()), log)
    }

    /// Starts ingest from relays, of which it reads one at a time.
    pub fn relays(relays: Vec<RelayOptions>, options: Options, log: Arc<dyn Log>) -> Self {
        let source = |relay| Box::new(RelaySource::new(relay, clock()).unwrap()) as Box<dyn Source>;
        let sources = relays.into_iter().map(source).collect();
        Self::start_all(sources, (options, clock()), log)
    }

    /// Starts ingest at a time of day.
    pub fn start_all(
        sources: Vec<Box<dyn Source>>,
        (options, clock): (Options, Arc<dyn Clock>),
        log: Arc<dyn Log>,
    ) -> Self {
        let status = Status::default();
        let stop = CancellationToken::new();
        let mut registry = Registry::default();
        let progress: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let reported = progress.clone();
        let context = Context {
            log: log.clone(),
            clock,
            metrics: Metrics::register(&mut registry),
            progress: Arc::new(move |progress| reported.lock().unwrap().push(progress.clone())),
            status: status.clone(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(run(options, sources, context));
        Self {
            log,
            stop,
            registry,
            progress,
            status,
            task,
        }
    }

    /// Waits until the log contains a tick that satisfies the condition; returns the content up to
    /// it.
    pub async fn until(&self, reached: impl Fn(&Stored) -> bool) -> Stored {
        let mut reader = self
            .log
            .reader(self.log.bounds().await.unwrap().first)
            .await
            .unwrap();
        let mut stored = Stored::default();
        loop {
            for (_, message) in reader.next(1_000).await.unwrap() {
                let tick = matches!(message, Message::Tick(_));
                stored.take(message);
                if tick && reached(&stored) {
                    return stored;
                }
            }
        }
    }

    /// Stops ingest and waits for its end.
    pub async fn stop(self) -> Summary {
        self.stop.cancel();
        self.end().await.unwrap()
    }

    /// Waits until ingest ends.
    pub async fn end(self) -> Result<Summary, IngestError> {
        self.task.await.unwrap()
    }

    /// Waits until ingest ends, without consuming the handle: for tests in which it must not end.
    pub async fn ended(&mut self) -> Result<Summary, IngestError> {
        (&mut self.task).await.unwrap()
    }

    /// The metrics in the format of Prometheus.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// The content of a log, as its readers interpret it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The events, ordered within each epoch by (host, seq, index), without repeats.
    pub events: Vec<Event>,
    pub ticks: Vec<Tick>,
    open: BTreeMap<(Arc<str>, u64, u32), Event>,
}

impl Stored {
    /// The whole content of a log.
    pub async fn of(log: &dyn Log) -> Self {
        let bounds = log.bounds().await.unwrap();
        let mut stored = Self::default();
        let mut reader = log.reader(bounds.first).await.unwrap();
        let mut left = bounds.next.0 - bounds.first.0;
        while left > 0 {
            for (_, message) in reader.next(1_000).await.unwrap() {
                stored.take(message);
                left -= 1;
            }
        }
        stored
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(event) => {
                let place = (event.host.clone(), event.seq.0, event.index);
                self.open.insert(place, event);
            }
            Message::Tick(tick) => {
                self.events
                    .extend(std::mem::take(&mut self.open).into_values());
                self.ticks.push(tick);
            }
        }
    }

    /// The `seq`s of the frames that produced events.
    pub fn seqs(&self) -> Vec<u64> {
        self.events.iter().map(|event| event.seq.0).collect()
    }

    /// The total of a counter.
    pub fn count(&self, name: &str) -> u64 {
        self.ticks
            .iter()
            .filter_map(|tick| tick.counts.get(name))
            .sum()
    }

    /// The cursor of the newest tick.
    pub fn cursor(&self) -> u64 {
        self.ticks.last().map_or(0, |tick| tick.cursor.0)
    }
}
