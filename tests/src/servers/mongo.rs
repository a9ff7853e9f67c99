//! MongoDB servers: alone, and as a replica set.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::process::{Process, Recipe, block_on};
use super::program_or_skip;

/// Memory of a server's cache, in GB.
const CACHE_GB: &str = "0.25";
/// What a server needs to be told to fail.
const TEST_COMMANDS: [&str; 2] = ["--setParameter", "enableTestCommands=1"];

/// One MongoDB server.
#[derive(Debug)]
pub struct Mongo(Process);

impl Mongo {
    /// A server that all tests of this process share: `SKYTIDE_TEST_MONGODB_URI`, or one that is started. Answers its
    /// address; `None` if there is none.
    pub fn shared() -> Option<String> {
        static SHARED: OnceLock<Option<Mongo>> = OnceLock::new();
        match std::env::var("SKYTIDE_TEST_MONGODB_URI") {
            Ok(uri) if !uri.is_empty() => Some(uri),
            _ => {
                let shared = SHARED.get_or_init(Self::start).as_ref();
                shared.map(Self::uri).or_else(|| {
                    program_or_skip("mongod")?;
                    None
                })
            }
        }
    }

    /// A server of one's own; `None` if the program is not installed.
    pub fn start() -> Option<Self> {
        Self::launch(arguments)
    }

    /// The same with a cache for benchmarks, 2 GB: that of other servers is small, as tests have many of them.
    pub fn roomy() -> Option<Self> {
        Self::launch(|port, folder| {
            let mut args = arguments(port, folder);
            args.iter_mut()
                .filter(|arg| *arg == CACHE_GB)
                .for_each(|arg| *arg = "2".to_owned());
            args
        })
    }

    /// Three servers that are one replica set; `None` if the program is not installed.
    pub fn replica_set() -> Option<ReplicaSet> {
        ReplicaSet::start(of_a_set)
    }

    /// The same, and each server can be told to fail.
    pub fn replica_set_with_failpoints() -> Option<ReplicaSet> {
        ReplicaSet::start(|port, folder| {
            let mut args = of_a_set(port, folder);
            args.extend(TEST_COMMANDS.map(str::to_owned));
            args
        })
    }

    /// A server of one's own that can be told to fail; `None` if the program is not installed.
    pub fn with_failpoints() -> Option<Self> {
        Self::launch(|port, folder| {
            let mut args = arguments(port, folder);
            args.extend(TEST_COMMANDS.map(str::to_owned));
            args
        })
    }

    /// Sets a fail point of a server that has them
    /// (<https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point>). Answers how often it was met since the
    /// server started.
    pub async fn fail_point(&self, name: &str, mode: impl Into<Bson>, data: Document) -> i64 {
        let set = doc! { "configureFailPoint": name, "mode": mode.into(), "data": data };
        let client = mongodb::Client::with_uri_str(self.uri()).await;
        let admin = client.expect("an address").database("admin");
        let answer = admin.run_command(set).await.expect("a fail point");
        let count = answer.get("count").expect("a count");
        let long = count.as_i64();
        long.or(count.as_i32().map(i64::from)).expect("a number")
    }

    /// The same, for whoever has no runtime.
    pub fn fail_point_now(&self, name: &str, mode: impl Into<Bson>, data: Document) -> i64 {
        block_on(self.fail_point(name, mode.into(), data))
    }

    fn launch(args: fn(u16, &Path) -> Vec<String>) -> Option<Self> {
        let recipe = Recipe {
            program: program_or_skip("mongod")?,
            args,
            ready: "Waiting for connections",
        };
        Some(Self(Process::start(recipe, |_, folder| {
            std::fs::create_dir_all(folder.join("db")).expect("its folder is there");
        })))
    }

    /// Its address, for `MONGODB_URI`.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
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

fn arguments(port: u16, folder: &Path) -> Vec<String> {
    let db = folder.join("db").display().to_string();
    let port = port.to_string();
    let fixed = [
        "--bind_ip",
        "127.0.0.1",
        "--wiredTigerCacheSizeGB",
        CACHE_GB,
        "--nounixsocket",
    ];
    let mut args: Vec<String> = fixed.map(str::to_owned).into();
    args.extend(["--port".into(), port, "--dbpath".into(), db]);
    args
}

fn of_a_set(port: u16, folder: &Path) -> Vec<String> {
    let mut args = arguments(port, folder);
    args.extend(["--replSet", "test"].map(str::to_owned));
    args
}

/// Three MongoDB servers that hold the same data.
#[derive(Debug)]
pub struct ReplicaSet {
    /// The servers.
    pub nodes: Vec<Mongo>,
}

impl ReplicaSet {
    fn start(args: fn(u16, &Path) -> Vec<String>) -> Option<Self> {
        let set = Self {
            nodes: (0..3).map(|_| Mongo::launch(args)).collect::<Option<_>>()?,
        };
        block_on(set.initiate());
        Some(set)
    }

    /// The address of all, for `MONGODB_URI`.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(host).collect();
        format!("mongodb://{}/?replicaSet=test", hosts.join(","))
    }

    /// Place in `nodes` of the one that takes writes; `None` while there is none.
    pub async fn primary(&self) -> Option<usize> {
        for (place, node) in self.nodes.iter().enumerate() {
            let client =
                mongodb::Client::with_uri_str(node.uri() + "&serverSelectionTimeoutMS=500");
            let admin = client.await.expect("an address").database("admin");
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Some(place);
            }
        }
        None
    }

    async fn initiate(&self) {
        let members = self.nodes.iter().zip(0..);
        let members: Vec<_> = members
            .map(|(node, id)| doc! { "_id": id, "host": host(node) })
            .collect();
        let config = doc! { "_id": "test", "members": members, "settings": { "electionTimeoutMillis": 2_000 } };
        let client = mongodb::Client::with_uri_str(self.nodes[0].uri()).await;
        let admin = client.expect("an address").database("admin");
        let initiated = admin.run_command(doc! { "replSetInitiate": config }).await;
        initiated.expect("a set of three");
        while self.primary().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn host(node: &Mongo) -> String {
    format!("127.0.0.1:{}", node.port())
}
