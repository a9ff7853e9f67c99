//! `skytide probe`: requests the health of a service on this machine, for health checks of
//! containers.
//!
//! ```text
//! SKYTIDE_PROBE_ADDRESS, then API_ADDRESS
//!   ─▶ loopback ─▶ GET /readyz or /healthz ─▶ one line, exit code 0 or 1
//! ```
//!
//! The second address is requested only if no HTTP response arrives from the first one, or if the
//! first one is unset.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Deserialize;
use skytide_core::config::{Config, ListenAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::Probe;
use crate::failure::Failure;
use crate::listen::{reachable, resolve};
use crate::terminal::say;

/// Maximum size of a response, in bytes.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;
/// Maximum length of the line, in characters. Container engines store the last few lines.
const LINE_CHARS_MAX: usize = 1_000;

/// Requests the health of the service and prints the result. Returns the exit code.
///
/// # Errors
///
/// The options name no address with a port, or the host name cannot be resolved.
pub async fn run(probe: &Probe) -> Result<ExitCode, Failure> {
    let path = match probe.live {
        true => "/healthz",
        false => "/readyz",
    };
    let addresses = addresses(&probe.config);
    if addresses.is_empty() {
        let what = "SKYTIDE_PROBE_ADDRESS and API_ADDRESS have port 0, so the port of the service is \
                    unknown: set a port";
        return Err(Failure::new(what));
    }
    let mut failures = Vec::new();
    for (configured, option) in addresses {
        let address = reachable(resolve(configured, option).await?);
        let response = timeout(probe.timeout.0, get(address, path)).await;
        let failure = match response.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(response) => {
                let code = response.code();
                print_line(&format!(
                    "http://{address}{path}: {}",
                    response.description()
                ));
                return Ok(code);
            }
            Err(why) if why.kind() == io::ErrorKind::TimedOut => {
                let seconds = probe.timeout.0.as_secs();
                format!("http://{address}{path}: no answer within {seconds} s")
            }
            Err(why) => format!("http://{address}{path}: {why}"),
        };
        failures.push(failure);
    }
    print_line(&failures.join("; "));
    Ok(ExitCode::FAILURE)
}

/// Prints a text as one line of bounded length.
fn print_line(line: &str) {
    let one_line = line.replace(char::is_control, " ");
    let short: String = one_line.chars().take(LINE_CHARS_MAX).collect();
    say(&short);
}

/// The addresses on which the service may listen, and the option of each. An address with port 0 is
/// skipped.
fn addresses(config: &Config) -> Vec<(&ListenAddress, &'static str)> {
    let probe = config.process.probe_address.as_ref();
    let configured = [
        probe.map(|address| (address, "SKYTIDE_PROBE_ADDRESS")),
        Some((&config.api.address, "API_ADDRESS")),
    ];
    let configured = configured.into_iter().flatten();
    let mut addresses: Vec<_> = configured.filter(|(it, _)| it.port() != 0).collect();
    addresses.dedup_by(|(a, _), (b, _)| a == b);
    addresses
}

/// The response of a service.
#[derive(Debug, PartialEq, Eq)]
struct HealthResponse {
    status: u16,
    reasons: Vec<String>,
}

/// The reasons in the body of `/readyz`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadyBody {
    reasons: Vec<String>,
}

impl HealthResponse {
    fn code(&self) -> ExitCode {
        match self.status {
            200 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    fn description(&self) -> String {
        match (self.status, self.reasons.join("; ")) {
            (200, _) => "ok".to_owned(),
            (status, reasons) if reasons.is_empty() => format!("status {status}"),
            (_, reasons) => format!("not ready: {reasons}"),
        }
    }

    /// Parses a response of HTTP/1. Returns `None` if the bytes are not one.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
        let ready: ReadyBody = serde_json::from_str(body).unwrap_or_default();
        Some(Self {
            status: status.parse().ok()?,
            reasons: ready.reasons,
        })
    }
}

async fn get(address: SocketAddr, path: &str) -> io::Result<HealthResponse> {
    let mut stream = TcpStream::connect(address).await?;
    // With HTTP/1.0 the server closes the connection after the response.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream
        .take(RESPONSE_BYTES_MAX)
        .read_to_end(&mut response)
        .await?;
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP");
    HealthResponse::parse(&response).ok_or_else(not_http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_all_addresses_is_reached_on_loopback() {
        let cases = [
            ("0.0.0.0:7780", "127.0.0.1:7780"),
            ("[::]:7780", "[::1]:7780"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
        ];
        for (configured, expected) in cases {
            let address = configured.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), expected);
        }
    }

    #[test]
    fn the_line_contains_the_reasons_why_a_service_is_not_ready() {
        let parse = |text: &str| HealthResponse::parse(text.as_bytes());
        let ready = parse("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"ready\":true,\"reasons\":[]}");
        assert_eq!(ready.expect("a response").description(), "ok");
        let body = "{\"reasons\":[\"log: no answer for 3 s\",\"relay: no frame yet\"]}";
        let not_ready = parse(&format!("HTTP/1.1 503 Service Unavailable\r\n\r\n{body}"));
        let not_ready = not_ready.expect("a response");
        assert_eq!(
            not_ready.description(),
            "not ready: log: no answer for 3 s; relay: no frame yet"
        );
        assert_eq!(
            parse("HTTP/1.1 404 Not Found\r\n\r\n<p>")
                .expect("a response")
                .description(),
            "status 404"
        );
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(""), None);
    }
}
