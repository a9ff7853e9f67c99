//! Which processes may connect: processes whose settings differ and callers that are not processes
//! of Skytide are rejected.

use std::sync::Arc;

use skytide::cluster::{ClusterState, HandshakeOptions, Hello, Mesh, MeshError};
use skytide_dataflow::{Links, Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SECRET: &[u8] = b"between us";
const BUILD: u64 = 7;

/// A cluster in which every process except the last one listens.
struct Meeting {
    names: Vec<Name>,
    listeners: Vec<Option<TcpListener>>,
}

impl Meeting {
    async fn of(processes: usize) -> Self {
        let (mut names, mut listeners) = (Vec::new(), Vec::new());
        for process in 0..processes {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
            let host = listener.local_addr().expect("its address").to_string();
            names.push(Name { process, host });
            listeners.push(Some(listener));
        }
        Self { names, listeners }
    }

    fn hello(&self, process: usize) -> Hello {
        Hello::new(BUILD, process as u32, self.names.len() as u32, 2)
    }

    fn mesh(&self, hello: Hello, secret: &[u8]) -> Mesh {
        Mesh::new(self.names.clone(), HandshakeOptions::new(hello, secret))
    }

    /// Starts a process, which then waits for the others.
    fn start(&mut self, process: usize) -> Waiting {
        let state = Arc::<ClusterState>::default();
        let (mesh, listener) = (
            self.mesh(self.hello(process), SECRET),
            self.listeners[process].take(),
        );
        let shared = state.clone();
        let links = tokio::spawn(async move { mesh.connect(listener, &shared).await });
        Waiting { state, links }
    }

    /// The reason that the first process sends to a process that introduces itself with this hello.
    async fn refused(&self, hello: Hello, secret: &[u8]) -> String {
        let mesh = self.mesh(hello, secret);
        match mesh.connect(None, &ClusterState::default()).await {
            Err(MeshError::Incompatible { peer, why }) => format!("{}: {why}", peer.process),
            other => panic!("it was not refused: {other:?}"),
        }
    }

    async fn call(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.names[0].host).await;
        stream.expect("process 0 listens")
    }
}

struct Waiting {
    state: Arc<ClusterState>,
    links: JoinHandle<Result<Links, MeshError>>,
}

impl Waiting {
    async fn until(&self, detail: &str) {
        while !self.state.part().detail.in_full().contains(detail) {
            assert!(
                !self.links.is_finished(),
                "it has stopped waiting: {detail:?}"
            );
            tokio::task::yield_now().await;
        }
    }

    async fn complete(self) -> Links {
        let links = self.links.await.expect("no panic");
        assert!(self.state.part().ok);
        links.expect("all processes are connected")
    }
}

#[tokio::test]
async fn a_rejected_process_learns_what_differs_and_a_matching_one_connects() {
    let mut meeting = Meeting::of(2).await;
    let first = meeting.start(0);
    let own = meeting.hello(1);

    let reason = meeting.refused(own.clone(), b"another").await;
    assert_eq!(
        reason,
        "0: process 0 says: the secrets differ: INDEXER_SECRET_FILE must hold the same for all"
    );
    let reason = meeting.refused(own.clone(), b"").await;
    assert!(reason.contains("the secrets differ"), "{reason}");

    let other = |change: fn(&mut Hello)| {
        let mut hello = own.clone();
        change(&mut hello);
        hello
    };
    let reason = meeting.refused(other(|it| it.threads = 4), SECRET).await;
    assert!(
        reason.starts_with(
            "0: it counts with 2 threads, this process with 4: set the same INDEXER_WORKERS"
        ),
        "{reason}"
    );
    let reason = meeting.refused(other(|it| it.processes = 3), SECRET).await;
    assert!(
        reason.starts_with("0: it knows 2 processes, this process 3: set the same INDEXER_HOSTS"),
        "{reason}"
    );
    let reason = meeting
        .refused(other(|it| it.version = "9.9.9".into()), SECRET)
        .await;
    assert!(
        reason.ends_with("this process \"9.9.9\": run the same version on all"),
        "{reason}"
    );
    let reason = meeting.refused(other(|it| it.build = 8), SECRET).await;
    assert!(
        reason.ends_with("this process 0000000000000008: run the same binary on all"),
        "{reason}"
    );

    assert!(!first.state.part().ok, "none of them was accepted");
    let second = meeting.start(1);
    assert_eq!(second.complete().await.process(), 1);
    assert_eq!(first.complete().await.processes(), 2);
}

/// The clock is paused and advances only when all tasks wait: no wait of this test takes real time.
#[tokio::test(start_paused = true)]
async fn strangers_are_rejected_and_do_not_block_a_matching_process() {
    let mut meeting = Meeting::of(2).await;
    let (first, begun) = (meeting.start(0), tokio::time::Instant::now());
    let mut garbage = meeting.call().await;
    let request = garbage
        .write_all(b"GET / HTTP/1.1\r\nHost: index\r\n\r\n")
        .await;
    request.expect("the request is sent");
    let mut nothing = Vec::new();
    // The connection may be closed by a reset, because the request was not read to its end.
    let _ = garbage.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty(), "a stranger received {nothing:?}");

    // More connections than are answered at a time.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(meeting.call().await);
    }
    let second = meeting.start(1);
    assert_eq!(second.complete().await.process(), 1);
    assert_eq!(first.complete().await.processes(), 2);
    for mut stream in silent {
        let _ = stream.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty(), "a stranger received {nothing:?}");
    }
    let waited = begun.elapsed();
    assert!(
        waited.as_secs() < 60,
        "each waited {waited:?}, by the paused clock of this test"
    );
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_rejected_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let address = listener.local_addr().expect("its address");
    let mut stranger = TcpStream::connect(address).await.expect("a connection");
    let (mut called, _) = listener.accept().await.expect("a connection");
    let length = 513_u16.to_be_bytes();
    stranger
        .write_all(&length)
        .await
        .expect("the length is sent");
    let answered = HandshakeOptions::new(Hello::new(BUILD, 0, 2, 1), SECRET)
        .answer(&mut called)
        .await;
    let why = answered.expect_err("a refusal").to_string();
    assert_eq!(why, "it is not a process of Skytide");
}

#[tokio::test]
async fn a_replayed_handshake_is_rejected() {
    let mut meeting = Meeting::of(2).await;
    let first = meeting.start(0);
    // An eavesdropper who has recorded the whole handshake of a matching process replays it.
    let between = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let mut names = meeting.names.clone();
    names[0].host = between.local_addr().expect("its address").to_string();
    let hello = meeting.hello(1);
    let fits = Mesh::new(names, HandshakeOptions::new(hello, SECRET));
    let fits = tokio::spawn(async move { fits.connect(None, &ClusterState::default()).await });
    let (mut caller, _) = between.accept().await.expect("a call");
    let mut leader = meeting.call().await;
    let hello = pass(&mut caller, &mut leader).await;
    pass(&mut leader, &mut caller).await;
    let proof = pass(&mut caller, &mut leader).await;
    pass(&mut leader, &mut caller).await;
    drop((caller, leader));
    fits.abort();
    assert!(!first.state.part().ok, "the handshake was not completed");

    let mut again = meeting.call().await;
    again.write_all(&hello).await.expect("the hello is sent");
    pass(&mut again, &mut tokio::io::sink()).await;
    again.write_all(&proof).await.expect("the proof is sent");
    let answer = pass(&mut again, &mut tokio::io::sink()).await;
    let answer = String::from_utf8_lossy(&answer[3..]).into_owned();
    assert!(answer.contains("the secrets differ"), "{answer}");
}

/// Forwards one frame; returns its bytes.
async fn pass(from: &mut TcpStream, to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> Vec<u8> {
    let mut frame = vec![0; 2];
    from.read_exact(&mut frame).await.expect("a length");
    let length = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
    frame.resize(2 + length, 0);
    from.read_exact(&mut frame[2..]).await.expect("a frame");
    to.write_all(&frame).await.expect("the frame is sent");
    frame
}

/// Waits until each process is connected to all others.
async fn all_are_there(processes: [Waiting; 3]) {
    for (process, waiting) in processes.into_iter().enumerate() {
        let links = waiting.complete().await;
        assert_eq!((links.process(), links.processes()), (process, 3));
    }
}

#[tokio::test]
async fn a_process_that_left_before_the_mesh_was_complete_may_return() {
    let mut meeting = Meeting::of(3).await;
    let first = meeting.start(0);
    let second = meeting.start(1);
    first.until("connected: process 2").await;
    assert!(!first.state.part().detail.in_full().contains("process 1"));
    second.links.abort();
    first.until("process 1").await;

    let host = &meeting.names[1].host;
    meeting.listeners[1] = Some(TcpListener::bind(host).await.expect("its own port"));
    let (second, third) = (meeting.start(1), meeting.start(2));
    all_are_there([first, second, third]).await;
}

#[tokio::test]
async fn the_first_process_waits_until_all_are_connected_to_all() {
    let mut meeting = Meeting::of(3).await;
    let first = meeting.start(0);
    // Process 2 reaches process 0 but not process 1; process 1 is connected only to process 0.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let own = meeting.names[1].host.clone();
    meeting.names[1].host = nowhere.local_addr().expect("its address").to_string();
    let third = meeting.start(2);
    meeting.names[1].host = own;
    let second = meeting.start(1);
    second.until("connected: process 2").await;
    third.until("connected: process 1").await;
    first.until("connected: process 1").await;
    first.until("process 2").await;
    third.links.abort();

    let third = meeting.start(2);
    all_are_there([first, second, third]).await;
}

#[tokio::test]
async fn a_process_that_uses_the_number_of_another_one_is_rejected() {
    let mut meeting = Meeting::of(3).await;
    let _second = meeting.start(1);
    let call = |process: usize, expected: u32| {
        let options = HandshakeOptions::new(meeting.hello(process), SECRET);
        let host = meeting.names[1].host.clone();
        async move {
            let mut stream = TcpStream::connect(&host).await.expect("a connection");
            let called = options.call(&mut stream, expected).await;
            called.expect_err("a refusal").to_string()
        }
    };
    let reason = call(1, 1).await;
    assert!(
        reason.starts_with("process 1 says: process 1 must not call process 1"),
        "{reason}"
    );
    let reason = call(2, 0).await;
    assert!(
        reason.starts_with("process 1 answered at this address"),
        "{reason}"
    );
}
