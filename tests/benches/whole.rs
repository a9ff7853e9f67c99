//! The whole system as a separate process, and its resource use as the kernel reports it.

mod network;
mod used;

pub use network::{Gate, Handle, Made, Mark, make};
pub use used::{Used, of_children, of_process, of_threads, peak_bytes, rss_bytes};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use skytide_core::config::PREFIXES;
use skytide_tests::servers::free_port;
use tempfile::TempDir;

/// Set for a child process that is to run `skytide`.
const CHILD: &str = "BENCH_IS_SKYTIDE";

/// Whether this process is to run `skytide`.
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A client for the API.
pub fn client() -> reqwest::Client {
    // No request here uses TLS, but a client cannot be built without a provider; a second call
    // finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A command that runs `skytide` in this folder, without Skytide's variables in its environment.
pub fn skytide(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    for (name, _) in std::env::vars_os() {
        if PREFIXES
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .env(CHILD, "1")
        .stdin(Stdio::null());
    command
}

/// `skytide up`, with its own relay and folder.
pub struct Whole {
    process: Child,
    folder: TempDir,
    api: String,
}

impl Whole {
    /// Starts the process, with additional environment variables.
    pub fn start(relay: &str, more: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let address = format!("127.0.0.1:{}", free_port());
        let process = skytide(folder.path())
            .arg("up")
            .env("FIREHOSE_URL", relay)
            .env("FIREHOSE_START", "oldest")
            .env("API_ADDRESS", &address)
            .env("SCHEDULER_PROFILES_CRON", "never")
            .env("SKYTIDE_LOG", "warn")
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .spawn()
            .expect("the child starts");
        Self {
            process,
            folder,
            api: format!("http://{address}"),
        }
    }

    /// The URL of a path of the API.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    /// The address of the API.
    pub fn address(&self) -> SocketAddr {
        let address = self.api.trim_start_matches("http://").parse();
        address.expect("an address")
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The folder in which the process runs, with its data in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The values in `/metrics` that have no labels; empty while the process does not answer.
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
