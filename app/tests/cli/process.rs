//! Runs the binary, in a folder of its own and without our variables in its environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use skytide_core::config::PREFIXES;

/// A folder in which the binary runs.
pub struct Place(tempfile::TempDir);

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The binary with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skytide"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.path());
        // No test asks a server of the network.
        command.env("SCHEDULER_PROFILES_CRON", "never");
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        let no_variables: [(&str, &str); 0] = [];
        self.run_with(args, no_variables)
    }

    /// Runs it to its end with variables set.
    pub fn run_with<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &self,
        args: &[&str],
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Ran {
        let output = self.command(args).envs(variables).output();
        Ran::from(output.expect("the binary runs"))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A file of the recordings in the repository.
pub fn recording(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/frames");
    root.join(name).to_str().expect("a path").to_owned()
}
