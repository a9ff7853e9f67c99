//! `skytide probe`: asks a service on this machine how it does, for health checks of containers.
//!
//! ```text
//! SKYTIDE_PROBE_ADDRESS, else (also if nothing listens there) API_ADDRESS ─▶ loopback ─▶ /readyz ─▶ 0 or 1, one line
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use serde::Deserialize;
use skytide_core::config::{Config, ListenAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::Probe;
use crate::failure::Failure;
use crate::listen::resolve;
use crate::terminal::say;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Characters of the line at most: container engines keep the last few lines.
const LINE_CHARS_MAX: usize = 1_000;

/// Asks, and prints the answer.
///
/// # Errors
/// No address is known.
pub async fn run(probe: &Probe) -> Result<ExitCode, Failure> {
    let path = match probe.live {
        true => "/healthz",
        false => "/readyz",
    };
    let addresses = addresses(&probe.config);
    if addresses.is_empty() {
        let what = "SKYTIDE_PROBE_ADDRESS and API_ADDRESS have port 0: which port was taken is not known here";
        return Err(Failure::new(what));
    }
    let mut tried = Vec::new();
    for (listening, option) in addresses {
        let address = reachable(resolve(listening, option).await?);
        let asked = timeout(probe.timeout.0, ask(address, path)).await;
        let line = match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(answer) => {
                let code = answer.code();
                tell(&format!("http://{address}{path}: {}", answer.words()));
                return Ok(code);
            }
            Err(why) if why.kind() == io::ErrorKind::TimedOut => {
                let seconds = probe.timeout.0.as_secs();
                format!("http://{address}{path}: no answer within {seconds} s")
            }
            Err(why) => format!("http://{address}{path}: {why}"),
        };
        tried.push(line);
    }
    tell(&tried.join("; "));
    Ok(ExitCode::FAILURE)
}

fn tell(line: &str) {
    let one_line = line.replace(char::is_control, " ");
    let short: String = one_line.chars().take(LINE_CHARS_MAX).collect();
    say(&short);
}

/// Where the service may listen, and the option that says so. A port of 0 names no address.
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

/// A service that listens on all addresses listens on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What a service answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    reasons: Vec<String>,
}

/// The part of `/readyz` that says why not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ready {
    reasons: Vec<String>,
}

impl Answer {
    fn code(&self) -> ExitCode {
        match self.status {
            200 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    fn words(&self) -> String {
        match (self.status, self.reasons.join("; ")) {
            (200, _) => "ok".to_owned(),
            (status, reasons) if reasons.is_empty() => format!("status {status}"),
            (_, reasons) => format!("not ready: {reasons}"),
        }
    }

    /// Reads an answer of HTTP/1; `None`: it is none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
        let ready: Ready = serde_json::from_str(body).unwrap_or_default();
        Some(Self {
            status: status.parse().ok()?,
            reasons: ready.reasons,
        })
    }
}

async fn ask(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    // With HTTP/1.0 the server closes after its answer.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    let no_answer = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    Answer::parse(&answer).ok_or_else(no_answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_asked_on_loopback() {
        let cases = [
            ("0.0.0.0:7780", "127.0.0.1:7780"),
            ("[::]:7780", "[::1]:7780"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
        ];
        for (configured, asked) in cases {
            let address = configured.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), asked);
        }
    }

    #[test]
    fn an_answer_says_why_a_service_is_not_ready() {
        let parse = |text: &str| Answer::parse(text.as_bytes());
        let ready = parse("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"ready\":true,\"reasons\":[]}");
        assert_eq!(ready.expect("an answer").words(), "ok");
        let body = "{\"reasons\":[\"log: no answer for 3 s\",\"relay: no frame yet\"]}";
        let not = parse(&format!("HTTP/1.1 503 Service Unavailable\r\n\r\n{body}"));
        let not = not.expect("an answer");
        assert_eq!(
            not.words(),
            "not ready: log: no answer for 3 s; relay: no frame yet"
        );
        assert_eq!(
            parse("HTTP/1.1 404 Not Found\r\n\r\n<p>")
                .expect("an answer")
                .words(),
            "status 404"
        );
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(""), None);
    }
}
