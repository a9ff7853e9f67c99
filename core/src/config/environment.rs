//! Variables that look like ours but are not.

use super::{options, secrets};

/// Beginnings of our variables' names.
pub const PREFIXES: [&str; 8] = [
    "FIREHOSE_",
    "INDEXER_",
    "SCHEDULER_",
    "API_",
    "NATS_",
    "MONGODB_",
    "STORE_",
    "SKYTIDE_",
];

/// Names of ours that only the tests read.
const TESTS_ONLY: [&str; 3] = [
    "SKYTIDE_TEST_NATS_URL",
    "SKYTIDE_TEST_MONGODB_URI",
    "SKYTIDE_TEST_SERVERS",
];

/// Edits between a name and one of ours up to which it is taken for a slip: a letter left out,
/// doubled, wrong.
const SLIP_EDITS_MAX: usize = 2;

/// Where a variable was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the environment of the process, where container platforms put names of their own
    /// (`NATS_PORT`).
    Environment,
    /// In `.env`, where every name of our prefixes is meant for us.
    File,
}

/// A variable's name and where it was found. Its value does not matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it was found.
    pub origin: Origin,
}

/// A name that must be corrected before anything starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown option {name} in {}; did you mean {nearest}?", match .origin {
    Origin::Environment => "the environment",
    Origin::File => ".env",
})]
pub struct Slip {
    /// The name that was found.
    pub name: String,
    /// Where.
    pub origin: Origin,
    /// The nearest name there is.
    pub nearest: String,
}

/// A name with one of our prefixes that does nothing; it may be another program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

/// Looks for names that begin as ours do and are none of ours.
///
/// # Errors
/// The first one that stands in `.env` or is nearly one of ours.
pub fn check(variables: impl IntoIterator<Item = Variable>) -> Result<Vec<Unknown>, Slip> {
    let known = known();
    let mut unknown = Vec::new();
    for Variable { name, origin } in variables {
        let upper = name.to_ascii_uppercase();
        let ours = PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
        if !ours || known.contains(&name) || TESTS_ONLY.contains(&name.as_str()) {
            continue;
        }
        let (nearest, edits) = nearest(&upper);
        if origin == Origin::File || edits <= SLIP_EDITS_MAX {
            return Err(Slip {
                name,
                origin,
                nearest,
            });
        }
        unknown.push(Unknown(name));
    }
    Ok(unknown)
}

/// The variables that there are: options, and the files of those that may be secret.
fn known() -> Vec<String> {
    let options = options().into_iter().map(|option| option.name);
    let files = secrets().into_iter().map(|name| format!("{name}_FILE"));
    options.chain(files).collect()
}

/// The option whose name needs the fewest edits to become this one, and how many.
pub fn nearest(name: &str) -> (String, usize) {
    let edits = |known: &str| strsim::damerau_levenshtein(name, known);
    known()
        .into_iter()
        .map(|name| {
            let edits = edits(&name);
            (name, edits)
        })
        .min_by_key(|(_, edits)| *edits)
        .expect("there are options")
}
