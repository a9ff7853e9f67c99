//! The load, and the process under load.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use skytide::clock::SystemClock;
use skytide_core::port::clock::Clock;
use skytide_simnet::server::{Limits, Options as ServerOptions, Pace, RelayOptions, Server, State};
use skytide_simnet::{Frame, Network, Options};
use tokio::runtime::Runtime;

use crate::process::Place;
use crate::services::{Running, get};

/// Frames per second, as the mean of a day: the rate of an hour differs by up to a third.
pub const RATE: u64 = 500;
/// Maximum number of events in an epoch.
const TICK_EVENTS_MAX: u64 = 500;
/// Maximum number of events in flight in the dataflow.
const BATCH_EVENTS_MAX: u64 = 2_000;
/// Maximum number of messages in flight to NATS.
const IN_FLIGHT_MAX: u64 = 256;

/// Approximate number of bytes of an event with its record in memory, and of the rows that it
/// changes (four of them).
const EVENT_BYTES: u64 = 1 << 10;
const ROWS_BYTES: u64 = 1 << 10;
/// Number of bytes of a live record in the dataflow (849 in `docs/benchmarks/2026-11-24-2-cores`).
pub const STATE_BYTES: u64 = 1 << 10;

/// What ingest may hold while the log is away: 18 batches of frames (16 queued, one being read, one
/// being decoded), each of 1 MiB and a last frame; 6 epochs (4 queued, one growing, one being
/// written); messages in flight, also in the buffers of the client.
pub const INGEST_BYTES: u64 =
    18 * (5 << 18) + (6 * TICK_EVENTS_MAX + 2 * IN_FLIGHT_MAX) * EVENT_BYTES;
/// What the dataflow may hold while the store is away: 4 batches (one growing, one queued, one
/// being computed, one being committed), an epoch larger than they may be, with their rows; and
/// 6,096 events that were read ahead.
pub const DATAFLOW_BYTES: u64 =
    4 * (BATCH_EVENTS_MAX + TICK_EVENTS_MAX) * (EVENT_BYTES + ROWS_BYTES) + 6_096 * EVENT_BYTES;

/// Number of epochs of a tenth of a second without an event after which no more events are
/// expected.
const QUIET_EPOCHS: u64 = 100;

/// Duration of the outage, in seconds of the network's time.
pub fn outage_seconds() -> u64 {
    let given = std::env::var("SKYTIDE_TEST_OUTAGE_SECONDS").ok();
    given.map_or(8, |text| text.parse().expect("seconds"))
}

/// A network that sends at its rate, independently of its readers.
pub struct Load {
    runtime: Runtime,
    server: Server,
    network: Options,
}

impl Load {
    /// Starts the network; the time of its first frame is now.
    pub fn start() -> Self {
        Self::start_at(RATE)
    }

    /// The same with this many frames per second.
    pub fn start_at(rate: u64) -> Self {
        let network = Options {
            seed: 51,
            accounts: 500,
            // Makes frames as large as those of the real network, so that eight seconds of them do
            // not fit between two sockets.
            history: 500,
            start: SystemClock.now(),
            rate: rate as f64,
            ..Options::default()
        };
        let runtime = Runtime::new().expect("a runtime");
        let options = ServerOptions {
            pace: Pace::Clock { speed: 1.0 },
            // A client that reconnects after minutes finds what was sent meanwhile.
            window: Limits {
                frames_max: 1_000_000,
                bytes_max: 4 << 30,
            },
            relay: RelayOptions {
                write_max: Duration::from_secs(1),
                ..RelayOptions::default()
            },
            ..ServerOptions::default()
        };
        let server = Server::start(
            options,
            Network::new(network.clone()),
            Arc::new(SystemClock),
        );
        let server = runtime.block_on(server).expect("started");
        Self {
            runtime,
            server,
            network,
        }
    }

    /// The address of the relay.
    pub fn url(&self) -> String {
        self.server.relay_url()
    }

    /// The state of the network so far.
    pub fn state(&self) -> State {
        self.server.state()
    }

    /// Waits until the network has sent this many more frames.
    pub fn until_more(&self, frames: u64) {
        let enough = self.state().frames + frames;
        let sent = self.server.until(|state| state.frames >= enough);
        self.runtime.block_on(sent);
    }

    /// Ends the network; returns all frames that it sent.
    pub fn end(&self) -> Vec<Frame> {
        self.server.end();
        let ended = self.server.until(|state| state.ended);
        let frames = self.runtime.block_on(ended).frames;
        let mut again = Network::new(self.network.clone());
        let again = std::iter::from_fn(move || again.next_frame());
        again.take(frames as usize).collect()
    }
}

/// `skytide up` reading from that network.
pub struct Up {
    running: Running,
    address: String,
    place: Place,
}

/// The answer of `/readyz`.
#[derive(Debug, Deserialize)]
pub struct Ready {
    ready: bool,
    /// The reasons for not being ready.
    pub reasons: Vec<String>,
}

impl Ready {
    /// Whether the process is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the process is not ready because of this part, for this reason.
    pub fn is_unready_by(&self, part: &str, why: &str) -> bool {
        let matches = |reason: &String| reason.starts_with(part) && reason.contains(why);
        !self.ready && self.reasons.iter().any(matches)
    }
}

impl Up {
    /// Starts the process, with small queues.
    pub fn start(load: &Load, nats: &str, mongo: &str) -> Self {
        let place = Place::new();
        let url = format!("--firehose-url={}", load.url());
        let ticks = format!("--firehose-tick-events-max={TICK_EVENTS_MAX}");
        let batch = format!("--indexer-batch-events-max={BATCH_EVENTS_MAX}");
        let in_flight = format!("--nats-in-flight-max={IN_FLIGHT_MAX}");
        let args = [
            "up",
            &url,
            &ticks,
            &batch,
            &in_flight,
            "--firehose-start=oldest",
            "--indexer-log-keep=all",
            "--nats-bytes-max=4GiB",
            "--api-address=127.0.0.1:0",
            "--api-ready-age-max=2s",
        ];
        let err = File::create(place.path().join("err")).expect("a file");
        let mut command = place.command(&args);
        command.env("NATS_URL", nats).env("MONGODB_URI", mongo);
        let child = command.stdout(Stdio::piped()).stderr(err).spawn();
        let mut running = Running(child.expect("the binary starts"));
        let out = running.0.stdout.take().expect("piped");
        let line = BufReader::new(out).lines().next();
        let line = line.expect("a line").expect("text");
        let address = line.split("http://").nth(1).expect("an address");
        Self {
            address: address.trim_end_matches('/').to_owned(),
            running,
            place,
        }
    }

    /// Requests `/readyz`.
    pub fn ready(&self) -> Ready {
        serde_json::from_str(&self.body("/readyz")).expect("an answer")
    }

    /// Polls every few frames until the process is ready; returns its peak memory meanwhile.
    pub fn until_ready(&self, load: &Load) -> u64 {
        let mut most = self.memory();
        while !self.ready().is_ready() {
            load.until_more(RATE / 20);
            most = most.max(self.memory());
        }
        most
    }

    /// Waits until the events of all frames are counted or no more arrive; returns the peak memory
    /// of the process meanwhile.
    pub fn until_counted(&self, frames: &[Frame]) -> u64 {
        let mut most = self.memory();
        until_counted(&self.address, frames, || most = most.max(self.memory()));
        most
    }

    fn body(&self, path: &str) -> String {
        body(&self.address, path)
    }

    /// Resident memory of the process, in bytes.
    pub fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.running.0.id());
        let status = std::fs::read_to_string(status).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("a size")
            .trim()
            .parse::<u64>()
            .expect("a number")
            << 10
    }

    /// Terminates the process by a signal and expects a clean exit.
    pub fn end(mut self) {
        self.running.signal("-TERM");
        let status = self.running.0.wait().expect("an exit status");
        let err = std::fs::read_to_string(self.place.path().join("err"));
        assert_eq!(status.code(), Some(0), "{}", err.expect("text"));
    }
}

/// Polls the API at this address until the events of all frames are counted or no more arrive;
/// calls `look` after each answer.
pub fn until_counted(address: &str, frames: &[Frame], mut look: impl FnMut()) {
    let events: usize = frames.iter().map(|frame| frame.events.len()).sum();
    let mut newest = (0, 0);
    loop {
        let network = body(address, "/v1/network");
        let network: serde_json::Value = serde_json::from_str(&network).expect("an answer");
        look();
        let epoch = network["epoch"].as_u64().unwrap_or_default();
        let counted = network["counters"]["events"].as_u64().unwrap_or_default();
        if counted > newest.1 {
            newest = (epoch, counted);
        }
        if counted >= events as u64 || epoch > newest.0 + QUIET_EPOCHS {
            return;
        }
    }
}

/// The body of an answer, without its head.
pub fn body(address: &str, path: &str) -> String {
    let answer = get(address, path);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    body.to_owned()
}

impl Drop for Up {
    /// Shows the last log lines if the test has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let err = std::fs::read_to_string(self.place.path().join("err"));
            let err = err.unwrap_or_default();
            let lines: Vec<_> = err.lines().rev().take(40).collect();
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
