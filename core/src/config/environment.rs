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

/// Edits between a name and one of ours up to which it is taken for a typing typo: a letter left out, doubled, wrong.
const TYPO_EDITS_MAX: usize = 2;
/// Jaro-Winkler similarity from which on two names resemble each other.
const SIMILARITY_MIN: f64 = 0.8;

/// Words of other programs for what an option of ours is, the words of ours last.
const SYNONYMS: [&[&str]; 3] = [
    &[
        "ADDR", "BIND", "HOST", "LISTEN", "PORT", "SERVER", "SERVERS", "ADDRESS", "URL", "URI",
    ],
    &["DIRECTORY", "FOLDER", "HOME", "PATH", "DIR"],
    &["CORES", "CPUS", "THREADS", "WORKERS"],
];

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
#[error("unknown option {name} in {}; {}", match .origin {
    Origin::Environment => "the environment",
    Origin::File => ".env",
}, match .nearest {
    Some(nearest) => format!("did you mean {nearest}?"),
    None => "`skytide config` prints all options".to_owned(),
})]
pub struct MisnamedOption {
    /// The name that was found.
    pub name: String,
    /// Where.
    pub origin: Origin,
    /// The nearest name there is, if one resembles it.
    pub nearest: Option<String>,
}

/// A name with one of our prefixes that does nothing; it may be another program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
    /// The option that it resembles most, if it resembles one.
    pub nearest: Option<String>,
}

/// Looks for names that begin as ours do and are none of ours.
///
/// # Errors
/// The first one that stands in `.env` or is nearly one of ours.
pub fn check(
    variables: impl IntoIterator<Item = Variable>,
) -> Result<Vec<Unknown>, MisnamedOption> {
    let known = known_variables();
    let mut unknown = Vec::new();
    for Variable { name, origin } in variables {
        let upper = name.to_ascii_uppercase();
        let ours = PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
        if !ours || known.contains(&name) || TESTS_ONLY.contains(&name.as_str()) {
            continue;
        }
        let typo = mistyped_option(&upper, &known);
        let is_typo = typo.is_some();
        let nearest = typo.or_else(|| similar_option(&upper, &known));
        let nearest = nearest.map(str::to_owned);
        if origin == Origin::File || is_typo {
            return Err(MisnamedOption {
                name,
                origin,
                nearest,
            });
        }
        unknown.push(Unknown { name, nearest });
    }
    Ok(unknown)
}

/// The option that a typing typo makes this name, if there is one.
fn mistyped_option<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let near = |known: &'a String| {
        let edits = strsim::damerau_levenshtein(name, known);
        (edits <= TYPO_EDITS_MAX).then_some((edits, known.as_str()))
    };
    let nearest = known.iter().filter_map(near).min();
    nearest.map(|(_, known)| known)
}

/// The option of the same service that this name resembles most, by its words after the prefix, if it resembles one.
fn similar_option<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let (service, rest) = name.split_once('_')?;
    if let Some(known) = known.iter().find(|known| *known == rest) {
        return Some(known);
    }
    let similar = |known: &'a String| {
        let (of, words) = known.split_once('_')?;
        let similarity = similarity(rest, words);
        (of == service && similarity >= SIMILARITY_MIN).then_some((similarity, known.as_str()))
    };
    let nearest = known.iter().filter_map(similar);
    let nearest = nearest.max_by(|(a, _), (b, _)| a.total_cmp(b));
    nearest.map(|(_, known)| known)
}

/// From 0 to 1. Names resemble each other by their letters, by a word for the same thing, or because one has all words of
/// the other.
fn similarity(found: &str, known: &str) -> f64 {
    let synonyms = |words: &&[&str]| words.contains(&found) && words.contains(&known);
    let has_all = |of: &str, words: &str| {
        let of: Vec<&str> = of.split('_').collect();
        words.split('_').all(|word| of.contains(&word))
    };
    if SYNONYMS.iter().any(synonyms) {
        1.0
    } else if has_all(found, known) || has_all(known, found) {
        SIMILARITY_MIN.max(strsim::jaro_winkler(found, known))
    } else {
        strsim::jaro_winkler(found, known)
    }
}

/// The variables that there are: options, and the files of those that may be secret.
fn known_variables() -> Vec<String> {
    let options = options().into_iter().map(|option| option.name);
    let files = secrets().into_iter().map(|name| format!("{name}_FILE"));
    options.chain(files).collect()
}
