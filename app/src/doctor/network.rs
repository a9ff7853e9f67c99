//! Checks of the network: the ports on which a service listens, and the relays.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::{Config, ListenAddress};
use skytide_ingest::{RelaySource, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::clock::{ClockQuestion, ClockReading};
use super::finding::Finding;
use crate::cli::doctor::Service;
use crate::clock::SystemClock;
use crate::failure::chain;
use crate::listen::{reachable, resolve};
use crate::options;

/// How long the process that has a port may take to say whether it is ours.
const ALIVE_MAX: Duration = Duration::from_secs(2);
/// Maximum size of its answer, in bytes.
const ALIVE_BYTES_MAX: u64 = 4_096;

/// Checks that the ports of the service are free, or that Skytide already has them.
pub async fn ports(config: &Config, service: Service) -> Vec<Finding> {
    let has_api = matches!(service, Service::Up | Service::Serve);
    let api = has_api.then_some((&config.api.address, "API_ADDRESS"));
    let probe = config.process.probe_address.as_ref();
    let probe = probe.map(|address| (address, "SKYTIDE_PROBE_ADDRESS"));
    let mut findings = Vec::new();
    for (address, option) in [api, probe].into_iter().flatten() {
        findings.push(port(address, option).await);
    }
    findings
}

async fn port(address: &ListenAddress, option: &'static str) -> Finding {
    const CHECK: &str = "port";
    let resolved = match resolve(address, option).await {
        Ok(resolved) => resolved,
        Err(failure) => {
            let fix = format!("correct {option}, or the name service");
            return Finding::problem(CHECK, chain(&failure), fix);
        }
    };
    let mut no_port = resolved;
    no_port.set_port(0);
    // Another machine may have the address: connecting says only about this one.
    let bound = match TcpListener::bind(no_port).await {
        Ok(_) => bind(resolved).await,
        Err(why) => Err(why),
    };
    match bound {
        Ok(Bound::Free) => Finding::ok(CHECK, format!("{address} is free ({option})")),
        Ok(Bound::Ours) => Finding::ok(CHECK, format!("Skytide listens on {address} ({option})")),
        Ok(Bound::Taken) => {
            let found = format!("another program listens on {address}");
            let fix = format!("stop it, or choose another port ({option})");
            Finding::problem(CHECK, found, fix)
        }
        Err(why) => {
            let found = format!("cannot listen on {address}: {why}");
            let fix = format!("choose an address of this machine and a port from 1024 ({option})");
            Finding::problem(CHECK, found, fix)
        }
    }
}

/// Who has a port.
enum Bound {
    Free,
    Ours,
    Taken,
}

/// Connects to the port, and binds it only if no process listens: a service that starts at this
/// moment would find a port that is bound in use.
async fn bind(resolved: SocketAddr) -> io::Result<Bound> {
    let address = reachable(resolved);
    if let Ok(Ok(stream)) = timeout(ALIVE_MAX, TcpStream::connect(address)).await {
        let alive = timeout(ALIVE_MAX, is_ours(stream, address)).await;
        return match alive {
            Ok(Ok(true)) => Ok(Bound::Ours),
            _ => Ok(Bound::Taken),
        };
    }
    match TcpListener::bind(resolved).await {
        Ok(_) => Ok(Bound::Free),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => Ok(Bound::Taken),
        Err(why) => Err(why),
    }
}

/// Whether the process that listens there answers `/healthz` as Skytide does.
async fn is_ours(mut stream: TcpStream, address: SocketAddr) -> io::Result<bool> {
    let request = format!("GET /healthz HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream
        .take(ALIVE_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    Ok(answer.contains("{\"status\":\"alive\"}"))
}

/// Whether the service reads the relays.
pub fn reads_relay(service: Service) -> bool {
    matches!(service, Service::Up | Service::Ingest)
}

/// The relays of the options. Those that cannot be used are findings of the options.
pub fn relays(config: &Config) -> Vec<RelaySource> {
    let relays = options::relays(config).into_iter();
    let sources = relays.map(|options| RelaySource::new(options, Arc::new(SystemClock)));
    sources.filter_map(Result::ok).collect()
}

/// Opens a WebSocket to a relay and closes it again. Adds a reading of its clock.
pub async fn relay(relay: &RelaySource, clocks: &mut Vec<ClockReading>) -> Vec<Finding> {
    const CHECK: &str = "relay";
    let host = relay.host().to_owned();
    let question = ClockQuestion::start();
    let started = std::time::Instant::now();
    let (connected, date) = relay.try_to_connect().await;
    clocks.extend(date.map(|date| question.end(&host, date, Duration::from_secs(1))));
    match connected {
        Ok(()) => {
            let ms = started.elapsed().as_millis();
            vec![Finding::ok(
                CHECK,
                format!("{host} opens a WebSocket, in {ms} ms"),
            )]
        }
        Err(why) => {
            let found = format!("{host} is not reachable: {why}");
            let fix =
                "check the address (FIREHOSE_URL), the name service, the firewall and a proxy";
            vec![Finding::problem(CHECK, found, fix)]
        }
    }
}
