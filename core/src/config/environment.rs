//! Detection of variables that look like options of Skytide but are not.

use super::{options, secrets};

/// Prefixes of the names of all options.
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

/// Variables with these prefixes that only the tests read.
const TESTS_ONLY: [&str; 3] = [
    "SKYTIDE_TEST_NATS_URL",
    "SKYTIDE_TEST_MONGODB_URI",
    "SKYTIDE_TEST_SERVERS",
];

/// Variables with these prefixes that one command reads, and that are no options of the services.
const COMMANDS_ONLY: [&str; 1] = ["SKYTIDE_KEY"];

/// Maximum edit distance at which a name counts as a misspelled option: a missing, extra, wrong or
/// transposed letter is one edit.
const TYPO_EDITS_MAX: usize = 2;
/// Minimum Jaro-Winkler similarity of two similar names.
const SIMILARITY_MIN: f64 = 0.8;

/// Words that other programs use for the same concept as an option of Skytide. Our own words come
/// last.
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
    /// In the environment of the process. Container platforms add names of their own there, for
    /// example `NATS_PORT`.
    Environment,
    /// In `.env`. Every name with one of our prefixes is intended for Skytide there.
    File,
}

/// The name of a variable and where it was found. Its value is not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name.
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
    /// Where it was found.
    pub origin: Origin,
    /// The most similar option, if there is one.
    pub nearest: Option<String>,
}

/// A name with one of our prefixes that is not an option. It has no effect, and may belong to
/// another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOption {
    /// The name.
    pub name: String,
    /// The most similar option, if there is one.
    pub nearest: Option<String>,
}

/// Finds names that have a prefix of our options but are not options.
///
/// # Errors
/// The first such name that is in `.env` or is a misspelled option.
pub fn check_names(
    variables: impl IntoIterator<Item = Variable>,
) -> Result<Vec<UnknownOption>, MisnamedOption> {
    let known = known_variables();
    let mut unknown = Vec::new();
    for Variable { name, origin } in variables {
        let upper = name.to_ascii_uppercase();
        let has_prefix = PREFIXES.iter().any(|prefix| upper.starts_with(prefix));
        let is_other = [&TESTS_ONLY[..], &COMMANDS_ONLY]
            .concat()
            .contains(&name.as_str());
        if !has_prefix || known.contains(&name) || is_other {
            continue;
        }
        let typo = mistyped(&upper, known.iter().map(String::as_str));
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
        unknown.push(UnknownOption { name, nearest });
    }
    Ok(unknown)
}

/// The known name of which `name` is a misspelling: the nearest one within [`TYPO_EDITS_MAX`], by
/// the Damerau-Levenshtein distance.
pub(super) fn mistyped<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = |known: &'a str| {
        let edits = strsim::damerau_levenshtein(name, known);
        (edits <= TYPO_EDITS_MAX).then_some((edits, known))
    };
    let nearest = known.into_iter().filter_map(near).min();
    nearest.map(|(_, known)| known)
}

/// The option of the same service that is most similar to `name`, compared without the prefix;
/// `None` if none is similar.
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

/// Similarity from 0 to 1. Names are similar by their letters, if they are synonyms, or if one
/// contains all words of the other.
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

/// All variables that have an effect: the options, and the files of secret options.
fn known_variables() -> Vec<String> {
    let options = options().into_iter().map(|option| option.name);
    let files = secrets().into_iter().map(|name| format!("{name}_FILE"));
    options.chain(files).collect()
}
