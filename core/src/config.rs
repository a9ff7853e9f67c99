//! All options of Skytide. Each is declared once: description, unit, default, range, flag and
//! variable are in one field.
//!
//! ```text
//! flag ▶ environment variable ▶ .env ▶ default        the first one that is set applies
//! ```
//!
//! `--help`, `skytide config` and `docs/config.md` are generated from these declarations, so they
//! always agree with them. There is one section per service. Every command accepts every option, so
//! all of them can share one `.env`. This module reads neither the environment nor files: `app`
//! does that and passes the values in.

mod address;
mod api;
mod cluster;
mod environment;
mod firehose;
mod indexer;
mod mongo;
mod nats;
mod process;
mod reference;
mod relay_url;
mod scheduler;
mod store;
mod values;

pub use address::ListenAddress;
pub use api::Api;
pub use cluster::{Cluster, HostPort};
pub use environment::{MisnamedOption, Origin, PREFIXES, Unknown, Variable, check};
pub use firehose::{CollectionFilter, CursorReset, Firehose, Start, Verify};
pub use indexer::{AccountPolicy, Indexer, LogKeep};
pub use mongo::{DatabaseName, Mongo, WriteConcern};
pub use nats::{Compression, IN_FLIGHT_MAX, Nats, StreamName};
pub use process::{LogFormat, Process};
pub use reference::{OptionDoc, Setting, in_force, markdown, options, secrets};
pub use relay_url::RelayUrl;
pub use scheduler::Scheduler;
pub use store::Store;
pub use values::{Between, ByteSize, Endpoint, Span, ValueError, between, masked};

/// All options.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Options of the process.
    #[command(flatten)]
    pub process: Process,
    /// Options of the embedded log and store.
    #[command(flatten)]
    pub store: Store,
    /// Options of ingest.
    #[command(flatten)]
    pub firehose: Firehose,
    /// Options of the dataflow.
    #[command(flatten)]
    pub indexer: Indexer,
    /// Options of a dataflow over several processes.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Options of the jobs.
    #[command(flatten)]
    pub scheduler: Scheduler,
    /// Options of the API.
    #[command(flatten)]
    pub api: Api,
    /// Options of NATS.
    #[command(flatten)]
    pub nats: Nats,
    /// Options of MongoDB.
    #[command(flatten)]
    pub mongo: Mongo,
}

#[cfg(test)]
mod tests;
