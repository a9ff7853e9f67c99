//! Who is let in, and who is not: processes that do not fit, and callers that are none.

use std::sync::Arc;

use skytide::cluster::{ClusterState, Hello, Manners, Mesh, MeshError};
use skytide_dataflow::{Links, Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SECRET: &[u8] = b"between us";
const BUILD: u64 = 7;

/// A cluster of which each process but the last listens.
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
        Hello::new(BUILD, (process as u32, self.names.len() as u32), 2)
    }

    fn mesh(&self, hello: Hello, secret: &[u8]) -> Mesh {
        Mesh::new(self.names.clone(), Manners::new(hello, secret))
    }

    /// Lets a process wait for the others.
    fn start(&mut self, process: usize) -> Waiting {
        let state = Arc::<ClusterState>::default();
        let (mesh, listener) = (
            self.mesh(self.hello(process), SECRET),
            self.listeners[process].take(),
        );
        let told = state.clone();
        let links = tokio::spawn(async move { mesh.connect(listener, &told).await });
        Waiting { state, links }
    }

    /// What a process that says this of itself is told by the first one.
    async fn refused(&self, hello: Hello, secret: &[u8]) -> String {
        let mesh = self.mesh(hello, secret);
        match mesh.connect(None, &ClusterState::default()).await {
            Err(MeshError::Unfit { peer, why }) => format!("{}: {why}", peer.process),
            other => panic!("it was not refused: {other:?}"),
        }
    }

    async fn call(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.names[0].host).await;
        stream.expect("it listens")
    }
}

struct Waiting {
    state: Arc<ClusterState>,
    links: JoinHandle<Result<Links, MeshError>>,
}

impl Waiting {
    async fn until(&self, detail: &str) {
        while !self.state.part().detail.contains(detail) {
            assert!(!self.links.is_finished(), "it does not wait: {detail:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn complete(self) -> Links {
        let links = self.links.await.expect("it does not panic");
        assert!(self.state.part().ok);
        links.expect("all are there")
    }
}

#[tokio::test]
async fn who_does_not_fit_is_told_what_differs_and_the_right_one_gets_in() {
    let mut meeting = Meeting::of(2).await;
    let first = meeting.start(0);
    let own = meeting.hello(1);

    let told = meeting.refused(own.clone(), b"another").await;
    assert_eq!(
        told,
        "0: process 0 says: the secrets differ: INDEXER_SECRET_FILE must hold the same for all"
    );
    let told = meeting.refused(own.clone(), b"").await;
    assert!(told.contains("the secrets differ"), "{told}");

    let other = |change: fn(&mut Hello)| {
        let mut hello = own.clone();
        change(&mut hello);
        hello
    };
    let told = meeting.refused(other(|it| it.threads = 4), SECRET).await;
    assert!(
        told.starts_with("0: it counts with 2 threads, this process with 4: INDEXER_WORKERS"),
        "{told}"
    );
    let told = meeting.refused(other(|it| it.processes = 3), SECRET).await;
    assert!(
        told.starts_with("0: it knows 2 processes, this one 3: INDEXER_HOSTS"),
        "{told}"
    );
    let told = meeting
        .refused(other(|it| it.version = "9.9.9".into()), SECRET)
        .await;
    assert!(
        told.ends_with("this process \"9.9.9\": all must be of one version"),
        "{told}"
    );
    let told = meeting.refused(other(|it| it.build = 8), SECRET).await;
    assert!(
        told.ends_with("this process 0000000000000008: all must run the same binary"),
        "{told}"
    );

    assert!(!first.state.part().ok, "nobody of them got in");
    let second = meeting.start(1);
    assert_eq!(second.complete().await.process(), 1);
    assert_eq!(first.complete().await.processes(), 2);
}

/// The clock goes on when nothing else does: no wait of this test is a real one.
#[tokio::test(start_paused = true)]
async fn strangers_neither_get_in_nor_keep_the_right_one_out() {
    let mut meeting = Meeting::of(2).await;
    let (first, begun) = (meeting.start(0), tokio::time::Instant::now());
    let mut garbage = meeting.call().await;
    let request = garbage
        .write_all(b"GET / HTTP/1.1\r\nHost: index\r\n\r\n")
        .await;
    request.expect("it is taken");
    let mut nothing = Vec::new();
    // It is closed, if not with the best manners: it was not read to its end.
    let _ = garbage.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty(), "a stranger was told {nothing:?}");

    // More than are answered at a time.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(meeting.call().await);
    }
    let second = meeting.start(1);
    assert_eq!(second.complete().await.process(), 1);
    assert_eq!(first.complete().await.processes(), 2);
    for mut stream in silent {
        let _ = stream.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty(), "a stranger was told {nothing:?}");
    }
    let waited = begun.elapsed();
    assert!(
        waited.as_secs() < 60,
        "each had {waited:?}, by the clock of this test"
    );
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let address = listener.local_addr().expect("its address");
    let mut stranger = TcpStream::connect(address).await.expect("it listens");
    let (mut called, _) = listener.accept().await.expect("it was called");
    let length = 513_u16.to_be_bytes();
    stranger.write_all(&length).await.expect("it is taken");
    let answered = Manners::new(Hello::new(BUILD, (0, 2), 1), SECRET)
        .answer(&mut called)
        .await;
    let why = answered.expect_err("it is refused").to_string();
    assert_eq!(why, "it is no process of Skytide");
}

#[tokio::test]
async fn what_was_heard_of_another_connection_proves_nothing() {
    let mut meeting = Meeting::of(2).await;
    let first = meeting.start(0);
    // Somebody who heard the whole conversation of a process that fits says the same once more.
    let between = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let mut names = meeting.names.clone();
    names[0].host = between.local_addr().expect("its address").to_string();
    let hello = meeting.hello(1);
    let fits = Mesh::new(names, Manners::new(hello, SECRET));
    let fits = tokio::spawn(async move { fits.connect(None, &ClusterState::default()).await });
    let (mut caller, _) = between.accept().await.expect("it calls");
    let mut leader = meeting.call().await;
    let hello = pass(&mut caller, &mut leader).await;
    pass(&mut leader, &mut caller).await;
    let proof = pass(&mut caller, &mut leader).await;
    pass(&mut leader, &mut caller).await;
    drop((caller, leader));
    fits.abort();
    assert!(!first.state.part().ok, "it did not agree in the end");

    let mut again = meeting.call().await;
    again.write_all(&hello).await.expect("its hello is taken");
    pass(&mut again, &mut tokio::io::sink()).await;
    again.write_all(&proof).await.expect("its proof is taken");
    let answer = pass(&mut again, &mut tokio::io::sink()).await;
    let answer = String::from_utf8_lossy(&answer[3..]).into_owned();
    assert!(answer.contains("the secrets differ"), "{answer}");
}

/// Passes on one frame; answers its bytes.
async fn pass(from: &mut TcpStream, to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> Vec<u8> {
    let mut frame = vec![0; 2];
    from.read_exact(&mut frame).await.expect("a length");
    let length = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
    frame.resize(2 + length, 0);
    from.read_exact(&mut frame[2..]).await.expect("a frame");
    to.write_all(&frame).await.expect("it is taken");
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
async fn a_process_that_went_away_before_all_were_there_may_come_again() {
    let mut meeting = Meeting::of(3).await;
    let first = meeting.start(0);
    let second = meeting.start(1);
    first.until("waits for process 2").await;
    assert!(!first.state.part().detail.contains("process 1"));
    second.links.abort();
    first.until("process 1").await;

    let host = &meeting.names[1].host;
    meeting.listeners[1] = Some(TcpListener::bind(host).await.expect("its own port"));
    let (second, third) = (meeting.start(1), meeting.start(2));
    all_are_there([first, second, third]).await;
}

#[tokio::test]
async fn the_first_one_waits_until_all_are_connected_to_all() {
    let mut meeting = Meeting::of(3).await;
    let first = meeting.start(0);
    // Process 2 finds process 0 and not process 1, who hears only process 0.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.expect("any port");
    let own = meeting.names[1].host.clone();
    meeting.names[1].host = nowhere.local_addr().expect("its address").to_string();
    let third = meeting.start(2);
    meeting.names[1].host = own;
    let second = meeting.start(1);
    second.until("waits for process 2").await;
    third.until("waits for process 1").await;
    first.until("waits for process 1").await;
    first.until("process 2").await;
    third.links.abort();

    let third = meeting.start(2);
    all_are_there([first, second, third]).await;
}

#[tokio::test]
async fn a_process_that_takes_another_ones_number_is_told() {
    let mut meeting = Meeting::of(3).await;
    let _second = meeting.start(1);
    let call = |process: usize, expected: u32| {
        let manners = Manners::new(meeting.hello(process), SECRET);
        let host = meeting.names[1].host.clone();
        async move {
            let mut stream = TcpStream::connect(&host).await.expect("it listens");
            let called = manners.call(&mut stream, expected).await;
            called.expect_err("it is refused").to_string()
        }
    };
    let told = call(1, 1).await;
    assert!(
        told.starts_with("process 1 says: process 1 is not to call process 1"),
        "{told}"
    );
    let told = call(2, 0).await;
    assert!(told.starts_with("there answers process 1"), "{told}");
}
