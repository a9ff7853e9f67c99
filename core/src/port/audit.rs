//! The result of an audit: rows that were counted again and compared with the stored ones. The
//! audit makes it; the API and `/metrics` show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::Epoch;
use crate::time::Timestamp;

/// Reports the newest audit of this process.
pub trait AuditReporter: Send + Sync {
    /// The newest complete audit; `None` before the first one.
    fn newest(&self) -> Option<Arc<AuditReport>>;
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Which rows were audited: `all` or `sample`.
    pub scope: Box<str>,
    /// The rows are those of the commit at this epoch.
    pub epoch: Epoch,
    /// Network time at the end of the epoch, in ms since 1970.
    pub time: Timestamp,
    /// The checkpoint whose live records were counted; `None` if the log was read from its first
    /// message.
    pub checkpoint: Option<Epoch>,
    /// Events of the log that were applied to the live records.
    pub events: u64,
    /// Live records that were counted, including hidden ones.
    pub live_records: u64,
    /// How long the audit took, in seconds.
    pub seconds: f64,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that differ, are missing, or should not exist.
    pub differing: u64,
    /// What was audited of each view.
    pub views: Vec<AuditedView>,
    /// The first differences, at most [`DIFFERENCES_MAX`](Self::DIFFERENCES_MAX).
    pub differences: Vec<Difference>,
}

impl AuditReport {
    /// The number of differences that a report contains. It counts the others, too.
    pub const DIFFERENCES_MAX: usize = 100;
}

/// What was audited of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedView {
    /// The name of the view.
    pub view: Box<str>,
    /// Rows that were compared: stored ones, and those that should be stored.
    pub rows: u64,
    /// Rows that differ, are missing, or should not exist.
    pub differing: u64,
    /// What was not audited of the view, and why.
    pub not_audited: Option<Box<str>>,
}

/// A row that differs from the one that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The name of the view.
    pub view: Box<str>,
    /// The key: an address, a DID, a text, or JSON.
    pub key: Box<str>,
    /// The columns as counted, as JSON; `None` if the row should not exist.
    pub expected: Option<Box<str>>,
    /// The columns as stored, as JSON; `None` if the row is missing.
    pub found: Option<Box<str>>,
}
