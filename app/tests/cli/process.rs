//! Runs the binary in a folder of its own, without Skytide's variables in its environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use skytide_core::config::PREFIXES;

/// A folder in which tests run the binary.
pub struct Place(tempfile::TempDir);

/// The result of a run.
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

    /// A command that runs the binary with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skytide"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.path());
        // No test sends requests to servers of the real network.
        command.env("SCHEDULER_PROFILES_CRON", "never");
        command.env("API_RESOLVER_URL", "never");
        command.stdin(Stdio::null());
        command
    }

    /// Runs the binary until it exits.
    pub fn run(&self, args: &[&str]) -> Ran {
        let no_variables: [(&str, &str); 0] = [];
        self.run_with(args, no_variables)
    }

    /// Runs the binary with environment variables until it exits.
    pub fn run_with<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &self,
        args: &[&str],
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Ran {
        let output = self.command(args).envs(variables).output();
        Ran::from(output.expect("the binary runs"))
    }

    /// Writes a file into the folder.
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

/// The path of a recording in the repository.
pub fn recording(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/frames");
    root.join(name).to_str().expect("a path").to_owned()
}
