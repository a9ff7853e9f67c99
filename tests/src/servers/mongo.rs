//! MongoDB servers: single ones and replica sets.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use super::process::{Process, Recipe, block_on};
use super::{program_or_skip, shared_address};

/// The size of a server's cache, in GB.
const CACHE_GB: &str = "0.25";
/// The arguments that enable fail points.
const TEST_COMMANDS: [&str; 2] = ["--setParameter", "enableTestCommands=1"];

/// One MongoDB server, controlled through its process.
#[derive(Debug)]
pub struct Mongo(Process);

impl Mongo {
    /// The address of the server that all tests of this process share, given by
    /// `SKYTIDE_TEST_MONGODB_URI` or started on first use; `None` if the program is not installed.
    pub fn shared() -> Option<String> {
        static SHARED: OnceLock<Option<Mongo>> = OnceLock::new();
        let start = || SHARED.get_or_init(Self::start).as_ref().map(Self::uri);
        shared_address("SKYTIDE_TEST_MONGODB_URI", "mongod", start)
    }

    /// A server of the test's own; `None` if the program is not installed.
    pub fn start() -> Option<Self> {
        Self::launch(arguments)
    }

    /// The same with a cache of 2 GB, for benchmarks. Other servers have a small cache, because
    /// tests run many of them.
    pub fn roomy() -> Option<Self> {
        Self::launch(|port, folder| {
            let mut args = arguments(port, folder);
            args.iter_mut()
                .filter(|arg| *arg == CACHE_GB)
                .for_each(|arg| *arg = "2".to_owned());
            args
        })
    }

    /// A replica set of three servers; `None` if the program is not installed.
    pub fn replica_set() -> Option<ReplicaSet> {
        ReplicaSet::start(set_arguments)
    }

    /// The same, with fail points enabled on each server.
    pub fn replica_set_with_failpoints() -> Option<ReplicaSet> {
        ReplicaSet::start(|port, folder| {
            let mut args = set_arguments(port, folder);
            args.extend(TEST_COMMANDS.map(str::to_owned));
            args
        })
    }

    /// A server of the test's own with fail points enabled; `None` if the program is not installed.
    pub fn with_failpoints() -> Option<Self> {
        Self::launch(|port, folder| {
            let mut args = arguments(port, folder);
            args.extend(TEST_COMMANDS.map(str::to_owned));
            args
        })
    }

    /// Sets a fail point of a server on which they are enabled
    /// (<https://github.com/mongodb/mongo/wiki/The-%22failCommand%22-fail-point>). Returns how often
    /// the fail point has been hit since the server started.
    pub async fn fail_point(&self, name: &str, mode: impl Into<Bson>, data: Document) -> i64 {
        let set = doc! { "configureFailPoint": name, "mode": mode.into(), "data": data };
        let client = mongodb::Client::with_uri_str(self.uri()).await;
        let admin = client.expect("an address").database("admin");
        let answer = admin.run_command(set).await.expect("a fail point");
        let count = answer.get("count").expect("a count");
        let long = count.as_i64();
        long.or(count.as_i32().map(i64::from)).expect("a number")
    }

    /// The same, for callers without a runtime.
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
            std::fs::create_dir_all(folder.join("db")).expect("its folder exists");
        })))
    }

    /// The server's address, for `MONGODB_URI`.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port())
    }
}

impl Deref for Mongo {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Mongo {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
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

fn set_arguments(port: u16, folder: &Path) -> Vec<String> {
    let mut args = arguments(port, folder);
    args.extend(["--replSet", "test"].map(str::to_owned));
    args
}

/// A replica set of three MongoDB servers.
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

    /// The address of the set, for `MONGODB_URI`.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(host).collect();
        format!("mongodb://{}/?replicaSet=test", hosts.join(","))
    }

    /// The index in `nodes` of the primary; `None` while there is none.
    pub async fn primary(&self) -> Option<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            let client =
                mongodb::Client::with_uri_str(node.uri() + "&serverSelectionTimeoutMS=500");
            let admin = client.await.expect("an address").database("admin");
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Some(index);
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
        initiated.expect("the set is initiated");
        while self.primary().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn host(node: &Mongo) -> String {
    format!("127.0.0.1:{}", node.port())
}
