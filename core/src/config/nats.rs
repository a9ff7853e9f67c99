//! Options of the log on NATS.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, FromArgMatches};

use super::{ByteSize, Endpoint, Span, ValueError, between};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: Span = Span(Duration::from_secs(1));
const HOUR: Span = Span(Duration::from_secs(3_600));

/// Messages that any writer may have under way. A new writer passes over so many positions, so that nothing of the one
/// before can find its place behind it: it must not grow while writers of another version are about.
pub const IN_FLIGHT_MAX: u32 = 1_024;

/// A NATS server with JetStream that holds the log, instead of files of our own.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "NATS (log)")]
pub struct Nats {
    /// Addresses of NATS servers of one cluster, as `nats://nats-1:4222,nats://nats-2:4222`; `tls://` to insist on TLS. Set,
    /// the log is a JetStream stream there. User and password, or a token alone, may stand before the host.
    #[arg(
        id = "NATS_URL",
        long = "nats-url",
        env = "NATS_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", value_delimiter = ',', value_parser = address)]
    pub url: Vec<Endpoint>,

    /// A file with the credentials of a user (JWT and seed), as `nsc` writes it.
    #[arg(
        id = "NATS_CREDENTIALS_FILE",
        long = "nats-credentials-file",
        env = "NATS_CREDENTIALS_FILE"
    )]
    #[arg(value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,

    /// A file with the seed of an NKey.
    #[arg(id = "NATS_NKEY_FILE", long = "nats-nkey-file", env = "NATS_NKEY_FILE")]
    #[arg(value_name = "FILE")]
    pub nkey_file: Option<PathBuf>,

    /// A file with a token.
    #[arg(
        id = "NATS_TOKEN_FILE",
        long = "nats-token-file",
        env = "NATS_TOKEN_FILE"
    )]
    #[arg(value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// A file with certificates (PEM) that the server's certificate must lead to; unset: those of the system.
    #[arg(
        id = "NATS_TLS_CA_FILE",
        long = "nats-tls-ca-file",
        env = "NATS_TLS_CA_FILE"
    )]
    #[arg(value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,

    /// A file with the certificate (PEM) that we show the server.
    #[arg(
        id = "NATS_TLS_CERTIFICATE_FILE",
        long = "nats-tls-certificate-file",
        env = "NATS_TLS_CERTIFICATE_FILE"
    )]
    #[arg(value_name = "FILE", requires = "NATS_TLS_KEY_FILE")]
    pub tls_certificate_file: Option<PathBuf>,

    /// A file with the private key (PEM) of that certificate.
    #[arg(
        id = "NATS_TLS_KEY_FILE",
        long = "nats-tls-key-file",
        env = "NATS_TLS_KEY_FILE"
    )]
    #[arg(value_name = "FILE", requires = "NATS_TLS_CERTIFICATE_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// The stream that is the log, made when it is not there. `skytide` has the subjects `firehose.>`, any other name `NAME`
    /// has `NAME.firehose.>`.
    #[arg(id = "NATS_STREAM", long = "nats-stream", env = "NATS_STREAM")]
    #[arg(value_name = "NAME", default_value = "skytide")]
    pub stream: StreamName,

    /// Servers of the cluster that hold a copy of the log each.
    #[arg(id = "NATS_REPLICAS", long = "nats-replicas", env = "NATS_REPLICAS")]
    #[arg(value_name = "COUNT", default_value = "1", value_parser = between(1_u8..=5))]
    pub replicas: u8,

    /// Bytes of the log, at most. At the limit ingest waits and says so; nothing is lost. JetStream reserves them, out of
    /// three quarters of the free disk unless `max_file_store` says otherwise. Unset, a new log gets 8 GiB, or 4, 2 or 1 if
    /// there is no room for more, and one that is there stays as it is.
    #[arg(id = "NATS_BYTES_MAX", long = "nats-bytes-max", env = "NATS_BYTES_MAX")]
    #[arg(value_name = "BYTES")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(64 * TIB)))]
    pub bytes_max: Option<ByteSize>,

    /// Whether the server compresses the log on its disk.
    #[arg(
        id = "NATS_COMPRESSION",
        long = "nats-compression",
        env = "NATS_COMPRESSION"
    )]
    #[arg(value_name = "NAME", default_value = "s2")]
    pub compression: Compression,

    /// Messages that may be under way to the server at once.
    #[arg(
        id = "NATS_IN_FLIGHT_MAX",
        long = "nats-in-flight-max",
        env = "NATS_IN_FLIGHT_MAX"
    )]
    #[arg(value_name = "COUNT", default_value = "1024", value_parser = between(1..=IN_FLIGHT_MAX))]
    pub in_flight_max: u32,

    /// Events that may share a message while ingest catches up. At live rates each has its own.
    #[arg(
        id = "NATS_BATCH_EVENTS_MAX",
        long = "nats-batch-events-max",
        env = "NATS_BATCH_EVENTS_MAX"
    )]
    #[arg(value_name = "COUNT", default_value = "64", value_parser = between(1_u32..=1_024))]
    pub batch_events_max: u32,

    /// How long to try to connect at the start.
    #[arg(
        id = "NATS_CONNECT_TIMEOUT",
        long = "nats-connect-timeout",
        env = "NATS_CONNECT_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = between(SECOND..=HOUR))]
    pub connect_timeout: Span,
}

impl Nats {
    /// The defaults, with the log at this address.
    ///
    /// # Errors
    /// It is no address of a NATS server.
    pub fn at(url: &str) -> Result<Self, ValueError> {
        let url = url.split(',').map(address).collect::<Result<_, _>>()?;
        let command = Self::augment_args(clap::Command::new("nats"));
        let command = command.mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.try_get_matches_from(["nats"]);
        let defaults = matches.and_then(|matches| Self::from_arg_matches(&matches));
        let defaults = defaults.map_err(|why| ValueError(why.to_string()))?;
        Ok(Self { url, ..defaults })
    }
}

fn address(text: &str) -> Result<Endpoint, ValueError> {
    Endpoint::parse(text, &["nats", "tls"])
}

/// The name of a stream: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName(String);

impl StreamName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
        let refused = "allowed are 1 to 64 letters, digits, - and _";
        let valid = valid.then(|| Self(text.to_owned()));
        valid.ok_or_else(|| ValueError(refused.to_owned()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the server keeps the log on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Compressed by S2.
    S2,
    /// As it is.
    None,
}
