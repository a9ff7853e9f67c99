//! The health of the services beside the API, and who may read which part of it.

use serde::Serialize;
use skytide_core::port::explanation::Explanation;
use skytide_core::port::key::Scope;
use skytide_core::port::wait::Wait;

use crate::access::Caller;

/// The health of the services beside the API, as far as this process knows it.
pub trait Health: Send + Sync {
    /// One entry for each part, such as `relay`, `log` or `dataflow`; empty if nothing is known.
    fn parts(&self) -> Vec<Part>;

    /// What the pipeline waits for.
    fn waits_for(&self) -> Wait {
        Wait::nothing()
    }

    /// Whether a failing part needs a person to act. Then `/readyz` reports unready although the
    /// API answers and commits continue.
    fn needs_help(&self) -> bool {
        false
    }
}

/// Reports nothing: the other services run in processes of their own.
pub(crate) struct UnknownHealth;

impl Health for UnknownHealth {
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }
}

/// The health of one part of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, such as `relay`.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// A text for people, such as `connected` or `retrying in 8 s`.
    pub detail: Explanation,
}

/// Who reads an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody who may call the route.
    Everybody,
    /// The operator: a key with the scope `admin`, or the probe.
    Operator,
}

impl Audience {
    /// The audience of the answer to a request, by the key that the guard checked.
    pub(crate) fn of(caller: Option<&Caller>) -> Self {
        match caller {
            Some(Caller::Key(key)) if key.stored.allows(Scope::Admin) => Self::Operator,
            _ => Self::Everybody,
        }
    }

    /// The text that this audience may read.
    pub(crate) fn text(self, explanation: &Explanation) -> String {
        match self {
            Self::Everybody => explanation.public().to_owned(),
            Self::Operator => explanation.in_full(),
        }
    }
}

/// The health of one part as an audience may see it, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ShownPart {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

impl ShownPart {
    /// All parts of the health, for this audience.
    pub(crate) fn all(health: &dyn Health, audience: Audience) -> Vec<Self> {
        let shown = |part: Part| Self {
            name: part.name,
            ok: part.ok,
            detail: audience.text(&part.detail),
        };
        health.parts().into_iter().map(shown).collect()
    }

    /// The reason why the part does not work.
    pub(crate) fn reason(&self) -> String {
        format!("{}: {}", self.name, self.detail)
    }
}

/// What the pipeline waits for, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ShownWait {
    word: &'static str,
    sentence: String,
    /// What only the operator may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl ShownWait {
    /// What the pipeline waits for, for this audience.
    pub(crate) fn of(health: &dyn Health, audience: Audience) -> Self {
        let Wait { word, sentence } = health.waits_for();
        let private = sentence
            .private()
            .filter(|_| audience == Audience::Operator);
        Self {
            word: word.as_str(),
            sentence: sentence.public().to_owned(),
            detail: private.map(str::to_owned),
        }
    }
}
