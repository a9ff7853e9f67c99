//! The process of a server. It never outlives the process that started it.

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

/// The interval at which a starting server is polled.
const POLL: Duration = Duration::from_millis(10);

/// The range from which ports for servers are chosen.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How to start a server, and how to detect that it is ready.
#[derive(Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, as a function of its port and its folder.
    pub args: fn(port: u16, folder: &Path) -> Vec<String>,
    /// The text in its output that marks it as ready.
    pub ready: &'static str,
}

/// A server that can be stopped and started again on the same port with the same data.
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
    /// Kills the server when this process ends: the guard waits for the end of its own standard
    /// input.
    guard: Child,
}

impl Process {
    /// Starts a server on a free port. Before that, `prepare` may write files into the server's
    /// folder.
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

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's folder, with its configuration, data and output.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The id of the server's process; `None` while it does not run.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|it| it.server.id())
    }

    /// Terminates the server by SIGTERM and waits for its exit.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            signal("TERM", &running.server);
            running.guard.kill().expect("the guard lives");
            running.server.wait().expect("it can be waited for");
            running.guard.wait().expect("it can be waited for");
        }
    }

    /// Kills the server by SIGKILL, as a crash of the process would.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.guard.kill().expect("the guard lives");
            running.server.kill().expect("it has not been waited for");
            running.server.wait().expect("it can be waited for");
            running.guard.wait().expect("it can be waited for");
        }
    }

    /// Starts the server again, terminating it first if it runs, and waits until it is ready.
    pub fn restart(&mut self) {
        self.stop();
        let started = launch(&self.recipe, self.port, self.folder.path());
        self.running = Some(started.unwrap_or_else(|| panic!("{}", output(self.folder.path()))));
    }

    /// Freezes the server by SIGSTOP: its connections stay open, but it does nothing.
    pub fn freeze(&self) {
        self.running
            .iter()
            .for_each(|it| signal("STOP", &it.server));
    }

    /// Resumes a frozen server by SIGCONT.
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

/// Starts the server and waits until it is ready; `None` if it exited because its port was taken.
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
            assert!(
                output.contains("in use"),
                "{} does not start:\n{output}",
                recipe.program.display()
            );
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// A shell that waits until this process has ended, then kills the server and removes its folder.
/// It has its own process group, so that an interrupt from the keyboard does not reach it before
/// this process.
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

/// A port that is free at this moment and that this process returns only once. It is outside the
/// range from which the system assigns ports to outgoing connections (32768 and above,
/// <https://docs.kernel.org/networking/ip-sysctl.html>): another test's connection could take such
/// a port before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static FIRST: LazyLock<u32> =
        LazyLock::new(|| RandomState::new().hash_one(std::process::id()) as u32);
    let ports = u32::from(PORTS.end - PORTS.start);
    loop {
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(index < ports, "no port is free");
        let port = PORTS.start + (FIRST.wrapping_add(index) % ports) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a future to completion on its own thread and runtime, so that tests with and without a
/// runtime can call it.
pub fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let output = scope.spawn(move || runtime.block_on(work)).join();
        output.expect("the future does not panic")
    })
}
