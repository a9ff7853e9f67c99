//! The environment and `.env`: reads the options in `.env`, and reports variables that look like
//! options and are not.

mod dotenv;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use skytide_core::config::{self, Origin, UnknownOption, Variable};

use self::dotenv::Entry;
use crate::failure::Failure;

/// What the environment and `.env` contain, besides the values of options.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables whose value comes from `.env`.
    pub from_file: Vec<String>,
    /// Variables that have a prefix of our options and are not an option.
    pub unknown: Vec<UnknownOption>,
    /// Warnings about entries of `.env` that may not have the effect that their author expects.
    /// The warnings contain no values of entries.
    pub warnings: Vec<String>,
}

impl Environment {
    /// Where the value of a variable comes from; `None` if it is not set.
    pub fn origin(&self, name: &str) -> Option<&'static str> {
        if self.from_file.iter().any(|it| it == name) {
            return Some(".env");
        }
        std::env::var_os(name).map(|_| "the environment")
    }
}

/// Sets the variables in `.env` that the environment does not set. If the file sets a name twice,
/// the first value is used.
///
/// Only the start of the process may call this, because other threads may read the environment.
///
/// # Errors
///
/// A name resembles one of our options, or a name in `.env` is unknown and has a prefix of our
/// options, or the file cannot be read.
pub fn load(path: &Path) -> Result<Environment, Failure> {
    let process: BTreeSet<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let entries = read(path)?;
    let variable = |name: &str, origin| Variable {
        name: name.to_owned(),
        origin,
    };
    let of_process = process.iter().map(|it| variable(it, Origin::Environment));
    let of_file = entries.iter().map(|it| variable(&it.name, Origin::File));
    let unknown = config::check_names(of_process.chain(of_file));
    let unknown = unknown.map_err(|error| Failure::new(error.to_string()))?;
    let warnings = warnings(path, &entries, &process);
    let mut set = BTreeSet::new();
    for Entry { name, value, .. } in entries {
        if !process.contains(&name) && set.insert(name.clone()) {
            #[expect(unsafe_code, reason = "clap reads values from the environment")]
            // SAFETY: called at the start, when no other thread reads or writes the environment.
            unsafe {
                std::env::set_var(name, value);
            }
        }
    }
    Ok(Environment {
        from_file: set.into_iter().collect(),
        unknown,
        warnings,
    })
}

/// The entries of the file in order; none if there is no file.
fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let shown = path.display();
    let unreadable = |why| Failure::because(format!("{shown} is not readable"), why);
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened
            .and_then(|file| file.take(dotenv::BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?,
    };
    if bytes.len() as u64 > dotenv::BYTES_MAX {
        let bytes_max = dotenv::BYTES_MAX;
        let what = format!("{shown} is not readable: it has more than {bytes_max} bytes");
        return Err(Failure::new(what));
    }
    dotenv::parse(&bytes).map_err(|error| Failure::new(format!("{shown} is not readable: {error}")))
}

/// Warnings about values that other parsers of such files interpret differently.
fn warnings(path: &Path, entries: &[Entry], process: &BTreeSet<String>) -> Vec<String> {
    let path = path.display();
    let mut warnings = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for Entry {
        line,
        name,
        value,
        has_unescaped_dollar,
    } in entries
    {
        let is_known = |name: &str| process.contains(name) || seen.contains(name);
        if *has_unescaped_dollar && substitution_names(value).any(is_known) {
            warnings.push(format!(
                "{path} line {line}: `$` in the value of {name} is taken as written; no variable is \
                 substituted"
            ));
        }
        if !seen.insert(name) {
            warnings.push(format!(
                "{path} line {line}: {name} is set twice; the first value is used"
            ));
        }
    }
    warnings
}

/// The names in `$NAME` and `${NAME}`.
fn substitution_names(value: &str) -> impl Iterator<Item = &str> {
    value.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let is_letter = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let end = rest.find(|it| !is_letter(it)).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_contain_lines_and_no_values() {
        let text = b"ROOT=/srv\nA=${ROOT}/secret\nB=pa$word\nC=$HOME/secret\nD='$HOME'\nA=secret\n";
        let entries = dotenv::parse(text).expect("entries");
        let process = BTreeSet::from(["HOME".to_owned()]);
        let found = warnings(Path::new(".env"), &entries, &process);
        let expected = [
            ".env line 2: `$` in the value of A is taken as written; no variable is substituted",
            ".env line 4: `$` in the value of C is taken as written; no variable is substituted",
            ".env line 6: A is set twice; the first value is used",
        ];
        assert_eq!(found, expected);
    }
}
