//! The ports on MongoDB: views, snapshots, profiles, states of the jobs.
//!
//! ```text
//! write ─▶ pending ─ sorted, cut into batches ─▶ `update` commands, several at a time ─▶ a collection a view
//! commit ─ all of it written ─▶ the control record: compare and set                      readers see rows as they come
//! lead ─ the lease is ours ─▶ the next term ─▶ every collection's guard knows it
//! ```
//!
//! There is no transaction over documents: rows are absolute, each names its epoch, and none gives way to an older one.
//! `docs/mongodb.md` shows every document and says why no interleaving of two writers does harm.
//!
//! - [`Connection`]: client, options, what the server must be. `schema`: collections, indexes.
//! - [`MongoStore`]: rows (`documents`, `row`, `key`), writing (`batch`, `guard`), who may write (`control`, `lease`).
//! - [`MongoSnapshots`], [`MongoProfiles`], [`MongoJobs`]: what the scheduler keeps.

mod batch;
mod connect;
mod connection;
mod control;
mod documents;
mod error;
mod guard;
mod jobs;
mod key;
mod lease;
mod profiles;
mod purge;
mod row;
mod schema;
mod server;
mod snapshots;
mod store;
mod values;

pub use connection::Connection;
pub use jobs::MongoJobs;
pub use profiles::MongoProfiles;
pub use snapshots::MongoSnapshots;
pub use store::{MongoStore, SnapshotReader};
