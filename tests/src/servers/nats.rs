//! NATS servers with JetStream.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::{Process, Recipe, free_port};
use super::{program_or_skip, shared_address};

/// The disk space that a server grants to streams by default.
const ROOM: &str = "64GB";

/// One NATS server, controlled through its process.
#[derive(Debug)]
pub struct Nats(Process);

impl Nats {
    /// The address of the server that all tests of this process share, given by
    /// `SKYTIDE_TEST_NATS_URL` or started on first use; `None` if the program is not installed.
    pub fn shared() -> Option<String> {
        static SHARED: OnceLock<Option<Nats>> = OnceLock::new();
        let start = || SHARED.get_or_init(Self::start).as_ref().map(Self::url);
        shared_address("SKYTIDE_TEST_NATS_URL", "nats-server", start)
    }

    /// A server of the test's own; `None` if the program is not installed.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// A server with these lines in its configuration
    /// (<https://docs.nats.io/running-a-nats-service/configuration>).
    pub fn with(lines: &str) -> Option<Self> {
        Self::configured(ROOM, lines)
    }

    /// A server that grants streams this much disk space, for example `3GB`.
    pub fn with_room(room: &str) -> Option<Self> {
        Self::configured(room, "")
    }

    fn configured(room: &str, lines: &str) -> Option<Self> {
        let recipe = recipe()?;
        Some(Self(Process::start(recipe, |port, folder| {
            configure(port, folder, room, lines);
        })))
    }

    /// A cluster of three servers; `None` if the program is not installed.
    pub fn cluster_of_three() -> Option<Cluster> {
        Cluster::start(ROOM)
    }

    /// The same, with this much disk space for the streams of each server, for example `3GB`.
    pub fn cluster_of_three_with_room(room: &str) -> Option<Cluster> {
        Cluster::start(room)
    }

    /// The server's address, for `NATS_URL`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }
}

impl Deref for Nats {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Nats {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

fn recipe() -> Option<Recipe> {
    Some(Recipe {
        program: program_or_skip("nats-server")?,
        args: |_, folder| vec!["-c".into(), folder.join("nats.conf").display().to_string()],
        ready: "Server is ready",
    })
}

fn configure(port: u16, folder: &Path, room: &str, lines: &str) {
    let store = folder.join("jetstream");
    let text = format!(
        "server_name: \"test-{port}\"\nlisten: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: \"{}\", max_file_store: {room}, max_memory_store: 256MB }}\n{lines}\n",
        store.display()
    );
    std::fs::write(folder.join("nats.conf"), text).expect("its folder exists");
}

/// A cluster of three NATS servers.
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

    /// The addresses of all servers, for `NATS_URL`.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// The index in `nodes` of the server with this name. A stream names its leader so.
    pub fn named(&self, name: &str) -> Option<usize> {
        let names = |node: &Nats| format!("test-{}", node.port()) == name;
        self.nodes.iter().position(names)
    }

    /// Waits until a stream of three replicas can be created: the cluster needs an elected leader
    /// and must know its three members.
    async fn until_it_has_a_leader(&self) {
        let client = async_nats::connect(self.nodes[0].url()).await;
        let jetstream = async_nats::jetstream::new(client.expect("the server is ready"));
        let probe = async_nats::jetstream::stream::Config {
            name: "probe".to_owned(),
            num_replicas: self.nodes.len(),
            ..Default::default()
        };
        while jetstream.create_stream(probe.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        jetstream
            .delete_stream("probe")
            .await
            .expect("the stream exists");
    }
}
