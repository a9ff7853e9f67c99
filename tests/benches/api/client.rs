//! A small HTTP/1.1 client that costs little beside the server: it reuses connections, and reads an
//! answer only as far as necessary to find its end.

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
/// All connections are on one thread of their own: threads of a client that wake each other take
/// more of the shared cores than its requests.
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let loading = load_here(address, &requests, connections, rate, seconds);
        let loaded = runtime.expect("the runtime starts").block_on(loading);
        // The receiver waits for it.
        let _received = sender.send(loaded);
    });
    loaded.await.expect("the client did not panic")
}

async fn load_here(
    address: SocketAddr,
    requests: &[Arc<[u8]>],
    connections: usize,
    rate: Option<f64>,
    seconds: f64,
) -> Loaded {
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for nth in 0..connections {
        let requests = requests.to_vec();
        let interval = rate.map(|rate| connections as f64 / rate);
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await.expect("a connection");
            let mut loaded = Loaded::default();
            // The connections are out of step, so that their requests do not come in bursts.
            let offset = nth as f64 / connections as f64;
            for turn in 0.. {
                let due = interval
                    .map(|it| started + Duration::from_secs_f64(it * (turn as f64 + offset)));
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let sent = due.unwrap_or_else(Instant::now);
                if sent >= end {
                    break;
                }
                let request = &requests[(nth * 7 + turn) % requests.len()];
                let (status, bytes) = connection.ask(request).await.expect("an answer");
                loaded.latencies.push(sent.elapsed().as_secs_f64() * 1e3);
                loaded.bytes += bytes;
                match status {
                    200 => loaded.answers += 1,
                    _ => loaded.failures += 1,
                }
            }
            loaded
        });
    }
    let mut all = Loaded {
        rate,
        ..Loaded::default()
    };
    for one in tasks.join_all().await {
        all.answers += one.answers;
        all.failures += one.failures;
        all.bytes += one.bytes;
        all.latencies.extend(one.latencies);
    }
    all.seconds = started.elapsed().as_secs_f64();
    all.latencies.sort_by(f64::total_cmp);
    all
}
