//! Secrets in files, as container engines, Kubernetes and systemd provide them:
//! `MONGODB_URI_FILE=/run/secrets/mongodb` instead of `MONGODB_URI=mongodb://user:password@host`.
//!
//! Every option whose declaration in `core::config` hides its value has such a variable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use skytide_core::config::secrets;

use crate::failure::Failure;

/// Maximum size of a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The values that were read from files, by option name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads the files that the environment names.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is empty, or the environment sets the option itself, too.
    pub fn read() -> Result<Self, Failure> {
        let mut found = BTreeMap::new();
        for name in secrets() {
            let variable = format!("{name}_FILE");
            let Some(path) = std::env::var_os(&variable).filter(|path| !path.is_empty()) else {
                continue;
            };
            if std::env::var_os(&name).is_some_and(|value| !value.is_empty()) {
                let what = format!("{name} and {variable} are both set: remove one of them");
                return Err(Failure::new(what));
            }
            let path = Path::new(&path);
            let read = contents(path).map_err(|why| {
                let what = format!("cannot read the secret in {} ({variable})", path.display());
                Failure::because(what, why)
            })?;
            found.insert(name, read);
        }
        Ok(Self(found))
    }

    /// The names of the options whose value was read from a file.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Makes the values the defaults of their options, so that a flag takes precedence.
    pub fn apply(&self, command: clap::Command) -> clap::Command {
        let command = command.mut_args(|arg| match self.0.get(arg.get_id().as_str()) {
            Some(value) => arg.default_value(value.clone()).hide_default_value(true),
            None => arg,
        });
        command.mut_subcommands(|command| self.apply(command))
    }
}

/// The secret in a file, without white space around it and without a byte order mark.
///
/// # Errors
///
/// The file cannot be read, is empty, or is too long for a secret.
pub fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(SECRET_BYTES_MAX + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is too long for a secret"));
    }
    let secret = text.trim_start_matches('\u{feff}').trim();
    if secret.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command};
    use skytide_core::config::Config;

    #[test]
    fn a_secret_from_a_file_is_a_default_that_help_does_not_show() {
        let values = [
            ("NATS_URL", "nats://u:secret@one,nats://two"),
            ("MONGODB_URI", "mongodb://u:secret@m"),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets(values.into());
        let inner = Config::augment_args(Command::new("up"));
        let mut command = secrets.apply(Command::new("skytide").subcommand(inner));
        let help = command
            .find_subcommand_mut("up")
            .expect("the command")
            .render_long_help();
        assert!(!help.to_string().contains("u:secret"), "{help}");
        let matches = command.get_matches_from(["skytide", "up", "--mongodb-uri=mongodb://flag"]);
        let (_, matches) = matches.subcommand().expect("up");
        let config: Config = clap::FromArgMatches::from_arg_matches(matches).expect("options");
        assert_eq!(config.nats.url.len(), 2);
        assert_eq!(config.mongo.uri.expect("one").host(), "flag");
    }

    #[test]
    fn a_line_ending_and_a_byte_order_mark_are_not_part_of_a_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            contents(&path).map_err(|why| why.to_string())
        };
        assert_eq!(read(b"a b\r\n"), Ok("a b".to_owned()));
        assert_eq!(read("\u{feff}token".as_bytes()), Ok("token".to_owned()));
        assert_eq!(read(b" \n"), Err("it is empty".to_owned()));
        assert_eq!(
            read(&[b'x'; 100_000]),
            Err("it is too long for a secret".to_owned())
        );
        assert!(read(&[0xff, 0xfe]).is_err());
    }
}
