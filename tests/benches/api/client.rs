//! A small HTTP/1.1 client that costs little beside the server: it reuses connections, and reads an
//! answer only as far as necessary to find its end.

mod paced;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection. Its answers have a `Content-Length`.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to the server.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; 256 << 10];
        Ok(Self { stream, buffer })
    }

    /// Sends a request; returns the status of its answer and the number of bytes received.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        self.stream.write_all(request).await?;
        let (mut filled, mut length) = (0, None);
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            if length.is_none() {
                length = answer_bytes(&self.buffer[..filled]);
            }
            match length {
                Some((status, bytes)) if filled >= bytes => return Ok((status, filled)),
                Some((_, bytes)) if bytes > self.buffer.len() => self.buffer.resize(bytes, 0),
                _ => {}
            }
        }
    }
}

/// The status of an answer and its length with its head; `None` while its head is incomplete.
fn answer_bytes(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.lines().find_map(|line| {
        let value = line.strip_prefix("content-length: ")?;
        value.parse::<usize>().ok()
    });
    Some((status, head + 4 + length.unwrap_or(0)))
}

/// A request for a path as bytes, with additional lines of its head.
pub fn request(path: &str, head: &str) -> Arc<[u8]> {
    let text = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{head}\r\n");
    text.into_bytes().into()
}

/// The result of a load.
#[derive(Default)]
pub struct Loaded {
    /// Requests per second of an open loop.
    pub rate: Option<f64>,
    /// Answers with status 200.
    pub answers: usize,
    /// Other answers.
    pub failures: usize,
    /// Bytes received.
    pub bytes: usize,
    /// Latencies in milliseconds, sorted. In an open loop they are counted from the time at which
    /// the request was due.
    pub latencies: Vec<f64>,
    /// How long the load lasted, in seconds.
    pub seconds: f64,
}

impl Loaded {
    /// Adds an answer: its status and size. The latency is counted from `since`.
    fn add(&mut self, since: Instant, (status, bytes): (u16, usize)) {
        self.latencies.push(since.elapsed().as_secs_f64() * 1e3);
        self.bytes += bytes;
        match status {
            200 => self.answers += 1,
            _ => self.failures += 1,
        }
    }

    /// The results of all connections together.
    fn sum(all: Vec<Self>, rate: Option<f64>, started: Instant) -> Self {
        let mut sum = Self {
            rate,
            seconds: started.elapsed().as_secs_f64(),
            ..Self::default()
        };
        for one in all {
            sum.answers += one.answers;
            sum.failures += one.failures;
            sum.bytes += one.bytes;
            sum.latencies.extend(one.latencies);
        }
        sum.latencies.sort_by(f64::total_cmp);
        sum
    }

    /// The latency that this share of the requests did not exceed, in milliseconds.
    pub fn latency(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Sends requests on `connections` connections, in turn, for `seconds`: in a closed loop, or, with a
/// rate in requests per second of all connections, in an open loop.
///
/// In a closed loop all connections are on one thread of their own: threads of a client that wake
/// each other take more of the shared cores than its requests. In an open loop each connection has
/// a thread ([`paced`]), because the timers of a runtime are too coarse for it.
pub async fn load(
    address: SocketAddr,
    requests: &[Arc<[u8]>],
    connections: usize,
    rate: Option<f64>,
    seconds: f64,
) -> Loaded {
    let requests = requests.to_vec();
    let (sender, loaded) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let loaded = match rate {
            Some(rate) => paced::load(address, &requests, connections, (rate, seconds)),
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let loading = closed_loop(address, &requests, connections, seconds);
                runtime.expect("the runtime starts").block_on(loading)
            }
        };
        // The receiver waits for it.
        let _received = sender.send(loaded);
    });
    loaded.await.expect("the client did not panic")
}

async fn closed_loop(
    address: SocketAddr,
    requests: &[Arc<[u8]>],
    connections: usize,
    seconds: f64,
) -> Loaded {
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for nth in 0..connections {
        let requests = requests.to_vec();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await.expect("a connection");
            let mut loaded = Loaded::default();
            for turn in 0.. {
                let sent = Instant::now();
                if sent >= end {
                    break;
                }
                let request = &requests[(nth * 7 + turn) % requests.len()];
                let answer = connection.ask(request).await.expect("an answer");
                loaded.add(sent, answer);
            }
            loaded
        });
    }
    let all = tasks.join_all().await;
    Loaded::sum(all, None, started)
}
