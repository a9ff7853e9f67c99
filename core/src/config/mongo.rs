//! Options of the MongoDB database that holds the views.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, FromArgMatches};

use super::{Endpoint, Span, ValueError, between};

const SECOND: Span = Span(Duration::from_secs(1));
const MINUTES_5: Span = Span(Duration::from_secs(300));

/// A MongoDB database that holds the views.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "MongoDB (views)")]
pub struct Mongo {
    /// The connection string of a MongoDB (4.4 or later) that holds the views instead of the data
    /// folder, for example `mongodb://user:password@host:27017/?tls=true`. It is never shown.
    #[arg(
        id = "MONGODB_URI",
        long = "mongodb-uri",
        env = "MONGODB_URI",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", value_parser = address)]
    pub uri: Option<Endpoint>,

    /// The database; created if it does not exist. Two networks or two account policies need two
    /// databases, each with an `index` of its own and its own `STORE_DIR`. If they share one log,
    /// see also `INDEXER_LOG_KEEP`.
    #[arg(
        id = "MONGODB_DATABASE",
        long = "mongodb-database",
        env = "MONGODB_DATABASE"
    )]
    #[arg(value_name = "NAME", default_value = "skytide")]
    pub database: DatabaseName,

    /// Number of members of a replica set that must acknowledge a write. With `1`, a failover can
    /// lose acknowledged rows. On a single server both values have the same effect.
    #[arg(
        id = "MONGODB_WRITE_CONCERN",
        long = "mongodb-write-concern",
        env = "MONGODB_WRITE_CONCERN"
    )]
    #[arg(value_name = "CONCERN", value_enum, default_value_t = WriteConcern::Majority)]
    pub write_concern: WriteConcern,

    /// Maximum number of connections per process.
    #[arg(
        id = "MONGODB_CONNECTIONS_MAX",
        long = "mongodb-connections-max",
        env = "MONGODB_CONNECTIONS_MAX"
    )]
    #[arg(value_name = "CONNECTIONS", default_value_t = 32, value_parser = between(4..=1_000_u32))]
    pub connections_max: u32,

    /// Number of batches of rows that are written concurrently, each on a connection of its own.
    #[arg(
        id = "MONGODB_WRITES_MAX",
        long = "mongodb-writes-max",
        env = "MONGODB_WRITES_MAX"
    )]
    #[arg(value_name = "BATCHES", default_value_t = 4, value_parser = between(1..=64_u32))]
    pub writes_max: u32,

    /// Maximum number of rows in one batch.
    #[arg(
        id = "MONGODB_BATCH_ROWS_MAX",
        long = "mongodb-batch-rows-max",
        env = "MONGODB_BATCH_ROWS_MAX"
    )]
    #[arg(value_name = "ROWS", default_value_t = 1_000, value_parser = between(1..=10_000_u32))]
    pub batch_rows_max: u32,

    /// Time after which an operation is aborted and retried.
    #[arg(
        id = "MONGODB_OPERATION_MAX",
        long = "mongodb-operation-max",
        env = "MONGODB_OPERATION_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "30s", value_parser = between(SECOND..=MINUTES_5))]
    pub operation_max: Span,

    /// How long the write lease is valid without renewal. After an indexer has crashed, another one
    /// takes over when its lease expires.
    #[arg(
        id = "MONGODB_LEASE_TTL",
        long = "mongodb-lease-ttl",
        env = "MONGODB_LEASE_TTL"
    )]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=MINUTES_5))]
    pub lease_ttl: Span,
}

impl Mongo {
    /// The default options with this connection string.
    ///
    /// # Errors
    /// The text is not a connection string of MongoDB.
    pub fn at(uri: &str) -> Result<Self, ValueError> {
        let uri = Some(address(uri)?);
        let command = Self::augment_args(clap::Command::new("mongo"));
        let command = command.mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.try_get_matches_from(["mongo"]);
        let defaults = matches.and_then(|matches| Self::from_arg_matches(&matches));
        let defaults = defaults.map_err(|why| ValueError(why.to_string()))?;
        Ok(Self { uri, ..defaults })
    }
}

fn address(text: &str) -> Result<Endpoint, ValueError> {
    Endpoint::parse(text, &["mongodb", "mongodb+srv"])
}

/// Number of members of a replica set that must acknowledge a write
/// (<https://www.mongodb.com/docs/manual/reference/write-concern/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WriteConcern {
    /// A majority of them: a failover loses nothing.
    Majority,
    /// Only the primary.
    #[value(name = "1")]
    One,
}

/// Name of a database
/// (<https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>), except the
/// server's own databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseName(String);

impl DatabaseName {
    const BYTES_MAX: usize = 63;
    const FORBIDDEN: &str = "/\\. \"$*<>:|?\0";
    const SERVERS_OWN: [&str; 3] = ["admin", "config", "local"];

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len())
            && !text.contains(|it| Self::FORBIDDEN.contains(it))
            && !Self::SERVERS_OWN.contains(&text);
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            ValueError(format!(
                "{text:?} is not a valid database name: it must have 1 to {} bytes, contain \
                 none of / \\ . \" $ * < > : | ? and spaces, and not be one of {}",
                Self::BYTES_MAX,
                Self::SERVERS_OWN.join(", ")
            ))
        })
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
