//! Whether the cluster is complete, for `/readyz`.

use std::sync::{Mutex, PoisonError};

use skytide_api::Part;
use skytide_core::port::explanation::Explanation;
use skytide_dataflow::Name;

/// Which processes are not connected yet, as this process sees it.
#[derive(Debug, Default)]
pub struct ClusterState(Mutex<Option<Vec<String>>>);

impl ClusterState {
    /// Records which processes are not connected yet.
    pub fn set_missing(&self, missing: &[&Name]) {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = Some(missing);
    }

    /// Why the cluster is not complete. The names of the processes contain their addresses, so they
    /// are private.
    pub fn problem(&self) -> Option<Explanation> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.as_deref() {
            None => Some(Explanation::new("the cluster is not started yet")),
            Some([]) => None,
            Some(missing) => {
                let sentence = match missing.len() {
                    1 => "a process of the cluster is not connected".to_owned(),
                    count => format!("{count} processes of the cluster are not connected"),
                };
                Some(Explanation::with_private(sentence, missing.join(", ")))
            }
        }
    }

    /// The part `cluster` of the health of the process.
    pub fn part(&self) -> Part {
        let problem = self.problem();
        Part {
            name: "cluster".to_owned(),
            ok: problem.is_none(),
            detail: problem.unwrap_or_else(|| Explanation::new("all processes are connected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_processes_are_counted_for_everybody_and_named_for_the_operator() {
        let state = ClusterState::default();
        assert!(!state.part().ok);
        let [one, two] = [1, 2].map(|process| Name {
            process,
            host: format!("10.0.0.{process}:7600"),
        });
        state.set_missing(&[&one, &two]);
        let part = state.part();
        assert_eq!(
            part.detail.public(),
            "2 processes of the cluster are not connected"
        );
        let full = part.detail.in_full();
        assert!(
            full.ends_with("process 1 (10.0.0.1:7600), process 2 (10.0.0.2:7600)"),
            "{full}"
        );
        state.set_missing(&[]);
        assert!(state.part().ok && state.problem().is_none());
    }
}
