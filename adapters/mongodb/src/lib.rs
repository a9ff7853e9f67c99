//! The view store, snapshots, profiles and job states in a MongoDB database.
//!
//! # What it holds
//!
//! ```text
//! write  ─▶ pending changes ─ sorted, divided into batches ─▶ `update` commands, several in flight
//!                                                            ─▶ one collection per view
//! commit ─ all batches are acknowledged ─▶ compare-and-set of the control record
//! lead   ─ the lease is ours ─▶ the next term ─▶ recorded in every collection's guard
//! ```
//!
//! The guard of a collection is a document that names the term whose writer may write there, and
//! the epoch after which it may write. Any other batch matches no guard and writes nothing.
//!
//! A commit is not a transaction. Rows are absolute values, each row names its epoch, and no row is
//! replaced by a row of an earlier epoch. Readers see rows as they are written; the control record
//! shows which of them are committed. `docs/mongodb.md` shows every document and explains why no
//! interleaving of two writers can corrupt the rows.
//!
//! - [`Connection`]: the client and its time limits. `connect` opens it and checks the server,
//!   `server` reads the server's version, `error` interprets errors, `schema` lists collections and
//!   indexes.
//! - [`MongoStore`]: rows (`documents`, `row`, `key`, `values`), writing (`batch`, `guard`,
//!   `purge`), and the right to write (`control`, `lease`). [`SnapshotReader`] reads the rows at
//!   one point in time.
//! - [`MongoSnapshots`], [`MongoProfiles`], [`MongoJobs`]: the data of the scheduler.
//! - [`MongoKeys`]: the keys of the API.
//!
//! # What it depends on
//!
//! Of this workspace only `skytide-core`; the client is `mongodb`.
//!
//! # What it does not know
//!
//! It knows no other adapter and no service. It knows the columns of each view, because it stores
//! them by name, but not how they are computed or ranked. It reads no environment variable and
//! never compares clocks of two machines: only the server's clock decides whether a lease has
//! expired.

mod batch;
mod connect;
mod connection;
mod control;
mod documents;
mod error;
mod guard;
mod inspect;
mod jobs;
mod key;
mod keys;
mod lease;
mod profiles;
mod purge;
mod row;
mod schema;
mod server;
mod snapshots;
mod store;
mod topology;
mod values;

pub use connection::Connection;
pub use inspect::{Inspection, inspect, server_time, try_to_write};
pub use jobs::MongoJobs;
pub use keys::MongoKeys;
pub use profiles::MongoProfiles;
pub use snapshots::MongoSnapshots;
pub use store::{MongoStore, SnapshotReader};
