//! The environment and `.env`: which variables are ours, and which only look like it.

use std::io;
use std::path::Path;

use skytide_core::config::{self, Origin, Variable};

use crate::failure::Failure;

/// What was found around the command line.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables whose value comes from `.env`.
    pub from_file: Vec<String>,
    /// Names that begin as ours do and are none of ours.
    pub unknown: Vec<String>,
}

impl Environment {
    /// Where a variable's value comes from; `None`: it has none.
    pub fn origin(&self, name: &str) -> Option<&'static str> {
        if self.from_file.iter().any(|it| it == name) {
            return Some(".env");
        }
        std::env::var_os(name).map(|_| "the environment")
    }
}

/// Reads `.env` into the environment, where it is weaker than what is there already.
///
/// # Errors
/// A name is nearly one of ours, or stands in `.env` and is none of ours; or the file is not
/// readable.
pub fn load(path: &Path) -> Result<Environment, Failure> {
    let variable = |name: &str, origin| Variable {
        name: name.to_owned(),
        origin,
    };
    let process: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let file = names_in(path)?;
    let variables = process
        .iter()
        .map(|name| variable(name, Origin::Environment))
        .chain(file.iter().map(|name| variable(name, Origin::File)));
    let unknown = config::check(variables).map_err(|slip| Failure::new(slip.to_string()))?;
    if !file.is_empty() {
        dotenvy::from_path(path).map_err(|why| unreadable(path, why))?;
    }
    Ok(Environment {
        from_file: file
            .into_iter()
            .filter(|it| !process.contains(it))
            .collect(),
        unknown: unknown.into_iter().map(|unknown| unknown.0).collect(),
    })
}

/// The names that the file sets; none if there is no file.
fn names_in(path: &Path) -> Result<Vec<String>, Failure> {
    match dotenvy::from_path_iter(path) {
        Ok(pairs) => pairs
            .map(|pair| pair.map(|(name, _)| name))
            .collect::<Result<_, _>>()
            .map_err(|why| unreadable(path, why)),
        Err(dotenvy::Error::Io(why)) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(why) => Err(unreadable(path, why)),
    }
}

/// Dotenvy's own text repeats the line, which may hold a password.
fn unreadable(path: &Path, why: dotenvy::Error) -> Failure {
    let path = path.display();
    match why {
        dotenvy::Error::LineParse(line, place) => {
            let is_name = |it: &char| it.is_ascii_alphanumeric() || *it == '_';
            let name: String = line.chars().take_while(is_name).collect();
            Failure::new(format!(
                "{path} is not readable: the line of {name:?}, at its character {place}"
            ))
        }
        why => Failure::because(format!("{path} is not readable"), why),
    }
}
