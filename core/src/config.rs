//! Every option of Skytide, once: doc, unit, default, range, flag and variable in one field.
//!
//! ```text
//! flag ▶ environment variable ▶ .env ▶ default        the first one that is there counts
//! ```
//!
//! `--help`, `skytide config` and `docs/config.md` derive from the declarations here, so they
//! cannot disagree with them. A section per service; each command accepts every option, so that one
//! `.env` serves all of them. This module reads no environment and no file: `app` does, and hands
//! in what it found.

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

/// Everything that can be set.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Of the process itself.
    #[command(flatten)]
    pub process: Process,
    /// Of the embedded log and store.
    #[command(flatten)]
    pub store: Store,
    /// Of ingest.
    #[command(flatten)]
    pub firehose: Firehose,
    /// Of the dataflow.
    #[command(flatten)]
    pub indexer: Indexer,
    /// Of the dataflow over several processes.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Of the jobs.
    #[command(flatten)]
    pub scheduler: Scheduler,
    /// Of the API.
    #[command(flatten)]
    pub api: Api,
    /// Of NATS.
    #[command(flatten)]
    pub nats: Nats,
    /// Of MongoDB.
    #[command(flatten)]
    pub mongo: Mongo,
}

#[cfg(test)]
mod tests;
