//! Whether the cluster is complete, for `/readyz`.

use std::sync::{Mutex, PoisonError};

use skytide_api::Part;
use skytide_dataflow::Name;

/// Which processes are not connected yet, as this process sees it.
#[derive(Debug, Default)]
pub struct ClusterState(Mutex<Option<String>>);

impl ClusterState {
    /// Records which processes are not connected yet.
    pub fn set_missing(&self, missing: &[&Name]) {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Some(missing.join(", "));
    }

    /// The part `cluster` of the health of the process.
    pub fn part(&self) -> Part {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ok, detail) = match state.as_deref() {
            None => (false, "not started yet".to_owned()),
            Some("") => (true, "all processes are connected".to_owned()),
            Some(missing) => (false, format!("waits for {missing}")),
        };
        Part {
            name: "cluster".to_owned(),
            ok,
            detail,
        }
    }
}
