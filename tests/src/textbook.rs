//! The six views of `cargo bench -p skytide-tests -- six` as a textbook would write them in
//! differential dataflow: the second oracle of the dataflow, and the baseline of that benchmark.
//!
//! ```text
//! messages ─ Reader::read ─▶ Input ─ Textbook::feed ─▶ changes of rows
//!            (input.rs)              (run.rs: workers; views.rs: the dataflow)
//!                                    rows of Skytide ─ of_skytide ─▶ the same form (rows.rs)
//! ```
//!
//! It shares nothing with the crate `dataflow` except the types and the parser of `core`. Its state
//! is that of differential's operators: no own operators, no own tables. The views:
//!
//! 1. likes, reposts, replies and quotes of each post;
//! 2. the 100 posts with the most likes of the last 24 hours;
//! 3. posts and distinct authors of each hashtag, of all time and of the last 24 hours, and the 100
//!    hashtags with the most posts of both;
//! 4. likes, reposts, replies and quotes by author, subject and day;
//! 5. distinct followers, follows and posts of each account;
//! 6. creates, updates and deletes of each collection and hour.
//!
//! The rules are those of Skytide:
//!
//! - An epoch is sorted by host, `seq` and index, without duplicates. A commit whose revision is not
//!   newer than all earlier ones of its repo is dropped as a whole.
//! - A record lives from its first create or update until its delete, and counts in the windows and
//!   days of the minute in which it was first seen. An update changes its content only.
//! - The policy decides how the status of an account acts on its records. An inactive account hides
//!   them (`ActiveAccountsOnly`); the status `deleted` ends them (all but `OpsOnly`).
//! - Windows of 24 hours consist of 144 buckets of ten minutes, the current one included, and end at
//!   the time of the newest tick.
//! - A post that was seen and does not exist now is in no top list. One that was never seen may be.
//! - Entries with equal values are in the order of their keys.
//! - A post that replies and quotes acts on the account that it replies to. Acts on oneself are not
//!   interactions.
//! - Operations count when their commit is applied, whatever becomes of the record.
//!
//! Three rules of Skytide are not implemented, because they concern storage. The textbook dataflow
//! keeps all rows ([`Row::is_retained`] says which ones Skytide keeps), updates its lists at each
//! epoch (Skytide once a second of network time and at idle ticks), and has no limit of 500 names of
//! collections.

mod input;
mod rows;
mod run;
mod views;

pub use input::{Input, Reader};
pub use rows::{CurrentRows, Row, Tallies, VIEWS, of_skytide};
pub use run::{RowChanges, Textbook};
