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

/// Maximum number of messages that any writer has in flight. A new writer skips this many
/// positions, so that no message of the previous writer can arrive after its own. The number must
/// not be increased while writers of different versions may run at the same time.
pub const IN_FLIGHT_MAX: u32 = 1_024;

/// NATS servers with JetStream that hold the log instead of local files.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "NATS (log)")]
pub struct Nats {
    /// Addresses of the NATS servers of one cluster, for example
    /// `nats://nats-1:4222,nats://nats-2:4222`; `tls://` requires TLS. If set, the log is a
    /// JetStream stream on these servers. A user and password, or only a token, may precede the
    /// host.
    #[arg(
        id = "NATS_URL",
        long = "nats-url",
        env = "NATS_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", value_delimiter = ',', value_parser = address)]
    pub url: Vec<Endpoint>,

    /// A file with the credentials of a user (JWT and seed), as written by `nsc`.
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

    /// A file with CA certificates (PEM) that verify the server's certificate; unset: those of the
    /// system.
    #[arg(
        id = "NATS_TLS_CA_FILE",
        long = "nats-tls-ca-file",
        env = "NATS_TLS_CA_FILE"
    )]
    #[arg(value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,

    /// A file with the client certificate (PEM) that is presented to the server.
    #[arg(
        id = "NATS_TLS_CERTIFICATE_FILE",
        long = "nats-tls-certificate-file",
        env = "NATS_TLS_CERTIFICATE_FILE"
    )]
    #[arg(value_name = "FILE", requires = "NATS_TLS_KEY_FILE")]
    pub tls_certificate_file: Option<PathBuf>,

    /// A file with the private key (PEM) of the client certificate.
    #[arg(
        id = "NATS_TLS_KEY_FILE",
        long = "nats-tls-key-file",
        env = "NATS_TLS_KEY_FILE"
    )]
    #[arg(value_name = "FILE", requires = "NATS_TLS_CERTIFICATE_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// The stream that holds the log; created if it does not exist. The stream `skytide` has the
    /// subjects `firehose.>`, a stream with any other name `NAME` has `NAME.firehose.>`.
    #[arg(id = "NATS_STREAM", long = "nats-stream", env = "NATS_STREAM")]
    #[arg(value_name = "NAME", default_value = "skytide")]
    pub stream: StreamName,

    /// Number of servers of the cluster that each hold a copy of the log.
    #[arg(id = "NATS_REPLICAS", long = "nats-replicas", env = "NATS_REPLICAS")]
    #[arg(value_name = "COUNT", default_value = "1", value_parser = between(1_u8..=5))]
    pub replicas: u8,

    /// Maximum size of the log. At the limit, ingest blocks and reports it; nothing is lost.
    /// JetStream reserves the space, out of three quarters of the free disk unless the server sets
    /// `max_file_store`. If unset, a new log gets 8 GiB, or 4, 2 or 1 GiB if there is no space for
    /// more, and an existing log keeps its size.
    #[arg(id = "NATS_BYTES_MAX", long = "nats-bytes-max", env = "NATS_BYTES_MAX")]
    #[arg(value_name = "BYTES")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(64 * TIB)))]
    pub bytes_max: Option<ByteSize>,

    /// Whether the server compresses the log on disk.
    #[arg(
        id = "NATS_COMPRESSION",
        long = "nats-compression",
        env = "NATS_COMPRESSION"
    )]
    #[arg(value_name = "NAME", default_value = "s2")]
    pub compression: Compression,

    /// Maximum number of unacknowledged messages in flight to the server.
    #[arg(
        id = "NATS_IN_FLIGHT_MAX",
        long = "nats-in-flight-max",
        env = "NATS_IN_FLIGHT_MAX"
    )]
    #[arg(value_name = "COUNT", default_value = "1024", value_parser = between(1..=IN_FLIGHT_MAX))]
    pub in_flight_max: u32,

    /// Maximum number of events in one message while ingest catches up. At live rates, each event
    /// has its own message.
    #[arg(
        id = "NATS_BATCH_EVENTS_MAX",
        long = "nats-batch-events-max",
        env = "NATS_BATCH_EVENTS_MAX"
    )]
    #[arg(value_name = "COUNT", default_value = "64", value_parser = between(1_u32..=1_024))]
    pub batch_events_max: u32,

    /// How long to retry connecting at the start.
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
    /// The default options with these addresses.
    ///
    /// # Errors
    /// The text contains an address that is not one of a NATS server.
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

/// Name of a stream: letters, digits, `-` and `_`.
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
        let why = "a stream name has 1 to 64 letters, digits, - and _";
        let valid = valid.then(|| Self(text.to_owned()));
        valid.ok_or_else(|| ValueError(why.to_owned()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the server stores the log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Compressed with S2.
    S2,
    /// Uncompressed.
    None,
}
