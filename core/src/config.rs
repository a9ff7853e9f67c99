//! All options of Skytide. Each is declared once: description, unit, default, range, flag and
//! environment variable are in one field.
//!
//! ```text
//! flag ▶ environment variable ▶ .env ▶ default        the first one that is set applies
//! ```
//!
//! `--help`, `skytide config` and `docs/config.md` are generated from these declarations. Each
//! service, each backend and the process itself has a struct of options. The names of two differ
//! from the name of the service: [`Firehose`] configures ingest, and [`Indexer`] the dataflow.
//! Every command accepts every option, so all commands can share one `.env`. This module reads
//! neither the environment nor files: `app` reads them and passes the values in.

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
mod views;

pub use address::ListenAddress;
pub use api::{Anonymous, Api, BURST_MIN, HostName};
pub use cluster::{Cluster, HostPort};
pub use environment::{MisnamedOption, Origin, PREFIXES, UnknownOption, Variable, check_names};
pub use firehose::{CollectionFilter, CursorReset, Firehose, Start, Verify};
pub use indexer::{AccountPolicy, DataflowLog, Indexer, LogKeep, MemoryMax};
pub use mongo::{DatabaseName, Mongo, WriteConcern};
pub use nats::{Compression, IN_FLIGHT_MAX, Nats, StreamName};
pub use process::{LogFormat, Process};
pub use reference::{OptionDoc, Setting, effective_settings, markdown, options, secrets};
pub use relay_url::RelayUrl;
pub use scheduler::Scheduler;
pub use store::Store;
pub use values::{Between, ByteSize, Endpoint, EndpointOrNever, Span, ValueError, between, masked};
pub use views::Views;

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
