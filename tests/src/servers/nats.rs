//! NATS servers with JetStream.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Process, Recipe, free_port};
use super::program_or_skip;

/// Room for streams on a server's disk, unless a test wants less.
const ROOM: &str = "64GB";

/// One NATS server.
#[derive(Debug)]
pub struct Nats(Process);

impl Nats {
    /// A server that all tests of this process share: `SKYTIDE_TEST_NATS_URL`, or one that is started. Answers its
    /// address; `None` if there is none.
    pub fn shared() -> Option<String> {
        static SHARED: OnceLock<Option<Nats>> = OnceLock::new();
        match std::env::var("SKYTIDE_TEST_NATS_URL") {
            Ok(url) if !url.is_empty() => Some(url),
            _ => {
                let shared = SHARED.get_or_init(Self::start).as_ref();
                shared.map(Self::url).or_else(|| {
                    program_or_skip("nats-server")?;
                    None
                })
            }
        }
    }

    /// A server of one's own; `None` if the program is not installed.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// A server with these lines in its configuration (<https://docs.nats.io/running-a-nats-service/configuration>).
    pub fn with(lines: &str) -> Option<Self> {
        Self::configured(ROOM, lines)
    }

    /// A server whose streams may have so much room on its disk, as `3GB`.
    pub fn with_room(room: &str) -> Option<Self> {
        Self::configured(room, "")
    }

    fn configured(room: &str, lines: &str) -> Option<Self> {
        let recipe = recipe()?;
        Some(Self(Process::start(recipe, |port, folder| {
            configure(port, folder, (room, lines));
        })))
    }

    /// Three servers that are one cluster; `None` if the program is not installed.
    pub fn cluster_of_three() -> Option<Cluster> {
        Cluster::start(ROOM)
    }

    /// The same with so much room on the disk of each, as `3GB`.
    pub fn cluster_of_three_with_room(room: &str) -> Option<Cluster> {
        Cluster::start(room)
    }

    /// Its address, for `NATS_URL`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Its folder, with `nats.conf` and its data.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// The number of its process; `None` while it does not run.
    pub fn process(&self) -> Option<u32> {
        self.0.id()
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again (after asking it to end, if it runs), and waits until it is ready.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Holds it: it keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.0.freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.0.thaw();
    }
}

fn recipe() -> Option<Recipe> {
    Some(Recipe {
        program: program_or_skip("nats-server")?,
        args: |_, folder| vec!["-c".into(), folder.join("nats.conf").display().to_string()],
        ready: "Server is ready",
    })
}

fn configure(port: u16, folder: &Path, (room, lines): (&str, &str)) {
    let store = folder.join("jetstream");
    let text = format!(
        "server_name: \"test-{port}\"\nlisten: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: \"{}\", max_file_store: {room}, max_memory_store: 256MB }}\n{lines}\n",
        store.display()
    );
    std::fs::write(folder.join("nats.conf"), text).expect("its folder is there");
}

/// Three NATS servers that are one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The servers.
    pub nodes: Vec<Nats>,
}

impl Cluster {
    fn start(room: &str) -> Option<Self> {
        let routes = [free_port(), free_port(), free_port()];
        let known = routes
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .join(", ");
        let nodes = routes.iter().map(|port| {
            let cluster = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{known}] }}"
            );
            Nats::configured(room, &cluster)
        });
        let cluster = Self {
            nodes: nodes.collect::<Option<_>>()?,
        };
        super::process::block_on(cluster.until_it_has_a_leader());
        Some(cluster)
    }

    /// The addresses of all, for `NATS_URL`.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// Place in `nodes` of the server of this name, as a stream names its leader.
    pub fn named(&self, name: &str) -> Option<usize> {
        let names = |node: &Nats| format!("test-{}", node.port()) == name;
        self.nodes.iter().position(names)
    }

    /// A cluster takes orders once it has elected a leader and knows its three members.
    async fn until_it_has_a_leader(&self) {
        let client = async_nats::connect(self.nodes[0].url()).await;
        let jetstream = async_nats::jetstream::new(client.expect("it is ready"));
        let probe = async_nats::jetstream::stream::Config {
            name: "probe".to_owned(),
            num_replicas: self.nodes.len(),
            ..Default::default()
        };
        while jetstream.create_stream(probe.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        jetstream.delete_stream("probe").await.expect("it was made");
    }
}
