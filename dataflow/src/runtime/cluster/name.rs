//! The name of a process of the cluster.

use std::fmt;

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its number; process 0 leads.
    pub process: usize,
    /// Its address, for example `10.0.0.2:7600`.
    pub host: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.host)
    }
}
