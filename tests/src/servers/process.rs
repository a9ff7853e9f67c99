//! A server's process. It never outlives the one that started it.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// How often a starting server is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where ports for servers are looked for.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How to start a server, and how to see that it is ready.
#[derive(Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, given its port and its folder.
    pub args: fn(port: u16, folder: &Path) -> Vec<String>,
    /// What its output says when it is ready.
    pub ready: &'static str,
}

/// A server that can be stopped and started again, at the same port and with the same data.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    port: u16,
    folder: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    /// Ends the server when this process ends: it waits for the end of its input.
    guard: Child,
}

impl Process {
    /// Starts a server on a free port. `prepare` may write files into its folder first.
    pub fn start(recipe: Recipe, prepare: impl Fn(u16, &Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        loop {
            let port = free_port();
            prepare(port, folder.path());
            if let Some(running) = launch(&recipe, port, folder.path()) {
                return Self {
                    recipe,
                    port,
                    folder,
                    running: Some(running),
                };
            }
        }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The number of its process; `None` while it does not run.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|it| it.server.id())
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            signal("TERM", &running.server);
            running.guard.kill().expect("the guard lives");
            running.server.wait().expect("it can be waited for");
            running.guard.wait().expect("it can be waited for");
        }
    }

    /// Ends it at once, as a crash of the process does.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.guard.kill().expect("the guard lives");
            running.server.kill().expect("it has not been waited for");
            running.server.wait().expect("it can be waited for");
            running.guard.wait().expect("it can be waited for");
        }
    }

    /// Starts it again, and waits until it is ready.
    pub fn restart(&mut self) {
        self.stop();
        let started = launch(&self.recipe, self.port, self.folder.path());
        self.running = Some(started.unwrap_or_else(|| panic!("{}", output(self.folder.path()))));
    }

    /// Holds it: it keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.running
            .iter()
            .for_each(|it| signal("STOP", &it.server));
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.running
            .iter()
            .for_each(|it| signal("CONT", &it.server));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the server; `None` if it ended because the port is taken.
fn launch(recipe: &Recipe, port: u16, folder: &Path) -> Option<Running> {
    let log = File::create(folder.join("output")).expect("its folder is there");
    let server = Command::new(&recipe.program)
        .args((recipe.args)(port, folder))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", recipe.program.display()));
    let mut running = Running {
        guard: guard(&server, folder),
        server,
    };
    loop {
        if output(folder).contains(recipe.ready) {
            return Some(running);
        }
        if running
            .server
            .try_wait()
            .expect("it can be waited for")
            .is_some()
        {
            running.guard.kill().expect("the guard lives");
            running.guard.wait().expect("it can be waited for");
            let output = output(folder);
            assert!(output.contains("in use"), "it does not start:\n{output}");
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// A shell that waits until this process has ended, then kills the server and removes its folder. A process
/// group of its own, so that an interrupt from the keyboard does not reach it first.
fn guard(server: &Child, folder: &Path) -> Child {
    Command::new("sh")
        .args([
            "-c",
            "cat; kill -s KILL \"$1\"; sleep 1; rm -rf \"$2\"",
            "guard",
        ])
        .arg(server.id().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell")
}

fn signal(name: &str, server: &Child) {
    let pid = server.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
        .status();
    assert!(sent.expect("a shell").success(), "signal {name}");
}

fn output(folder: &Path) -> String {
    let mut text = Vec::new();
    let mut file = File::open(folder.join("output")).expect("it was made");
    file.read_to_end(&mut text).expect("it is readable");
    String::from_utf8_lossy(&text).into_owned()
}

/// A port that nobody has at this moment, and that this process gives out once. It is none of those that the system gives to
/// outgoing connections (from 32768 on, <https://docs.kernel.org/networking/ip-sysctl.html>): of these, a connection of
/// another test may take it before the server does.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    static FIRST: LazyLock<u32> =
        LazyLock::new(|| RandomState::new().hash_one(std::process::id()) as u32);
    let ports = u32::from(PORTS.end - PORTS.start);
    loop {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(given < ports, "no port is free");
        let port = PORTS.start + (FIRST.wrapping_add(given) % ports) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs this to its end, on a thread and a runtime of its own, so that tests with and without a runtime can wait for it.
pub fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let done = scope.spawn(move || runtime.block_on(work)).join();
        done.expect("it does not panic")
    })
}
