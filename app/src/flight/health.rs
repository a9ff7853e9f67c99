//! The health of a service in its flight record, with what only the operator may read.

use serde::{Deserialize, Serialize};
use skytide_api::Health;
use skytide_core::port::wait::WaitWord;

/// The health of a service at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSample {
    /// What the pipeline waits for: one word.
    pub waits_for: String,
    /// The same as a sentence.
    pub sentence: String,
    /// Each part of the service.
    pub parts: Vec<PartSample>,
}

/// The health of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSample {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// Why it does not work, or what it does.
    pub detail: String,
}

impl HealthSample {
    /// The health now.
    pub fn of(health: &dyn Health) -> Self {
        let wait = health.waits_for();
        let parts = health.parts().into_iter().map(|part| PartSample {
            name: part.name,
            ok: part.ok,
            detail: part.detail.in_full(),
        });
        Self {
            waits_for: wait.word.as_str().to_owned(),
            sentence: wait.sentence.in_full(),
            parts: parts.collect(),
        }
    }

    /// What does not work, in words. Empty if everything works.
    pub fn problems(&self) -> Vec<String> {
        let waits = ![WaitWord::Nothing.as_str(), ""].contains(&self.waits_for.as_str());
        let waits = waits.then(|| format!("it waits for {}: {}", self.waits_for, self.sentence));
        let failing = self.parts.iter().filter(|part| !part.ok);
        let failing = failing.map(|part| format!("{}: {}", part.name, part.detail));
        waits.into_iter().chain(failing).collect()
    }
}
