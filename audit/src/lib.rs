//! The audit: counts stored rows again, from live records, and reports every difference.
//!
//! ```text
//! checkpoint ─ live records ─▶ recount::History ◀─ events ─ log, up to the epoch of the rows
//!                                    │ naive loops (recount)
//!                                    ▼
//!                              expected rows ── compare ── stored rows of one commit
//! ```
//!
//! [`recount`] is naive code that shares nothing with the dataflow; the tests compare the dataflow
//! with it, too. [`run`] compares it with the rows of a running system. Audited rows are those of
//! one commit; the live records are those of the newest checkpoint, to which the recount applies
//! the log up to that commit. So an audit never stops the stream.

pub mod recount;
mod run;
mod shown;

pub use run::{AuditError, Request, Scope, Sources, run};
