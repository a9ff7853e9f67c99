//! The whole system as a process of its own, and what the kernel says about it.

mod network;
mod used;

pub use network::{Gate, Handle, Made, Mark, make};
pub use used::{Used, of_process, of_threads, peak_bytes, rss_bytes};

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use skytide_core::config::PREFIXES;
use skytide_tests::servers::free_port;
use tempfile::TempDir;

/// Set for a process of this program that is to be `skytide`.
const CHILD: &str = "BENCH_IS_SKYTIDE";

/// Whether this process is to be `skytide`.
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A client for its API.
pub fn client() -> reqwest::Client {
    // Nothing here is asked over TLS, but a client is not made without; a second one finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// `skytide up`, on a relay and in a folder of its own.
pub struct Whole {
    process: Child,
    folder: TempDir,
    api: String,
}

impl Whole {
    /// Starts it, with more variables.
    pub fn start(relay: &str, more: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        for (name, _) in std::env::vars_os() {
            if PREFIXES
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        let process = command
            .arg("up")
            .current_dir(folder.path())
            .env(CHILD, "1")
            .env("FIREHOSE_URL", relay)
            .env("FIREHOSE_START", "oldest")
            .env("API_ADDRESS", &address)
            .env("SCHEDULER_PROFILES_CRON", "never")
            .env("SKYTIDE_LOG", "warn")
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("this program runs");
        Self {
            process,
            folder,
            api: format!("http://{address}"),
        }
    }

    /// An address of its API.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The folder in which it runs, with its data in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `/metrics` says of values without labels; empty while it does not answer.
    pub async fn metrics(&self, client: &reqwest::Client) -> BTreeMap<String, f64> {
        let Ok(answer) = client.get(self.url("/metrics")).send().await else {
            return BTreeMap::new();
        };
        let text = answer.text().await.unwrap_or_default();
        let pairs = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = pairs.filter_map(|line| line.rsplit_once(' '));
        pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}
