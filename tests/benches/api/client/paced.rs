//! An open loop: requests are due at fixed times, whether earlier ones were answered or not.
//!
//! Each connection is a thread with a blocking socket that sleeps until its next request is due. A
//! thread wakes up some tens of microseconds late (`timer_slack`, prctl(2)). A timer of tokio is
//! late by up to a millisecond (<https://docs.rs/tokio/latest/tokio/time/fn.sleep.html>), which
//! would be most of the latency to be measured.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Loaded, answer_bytes};

/// The time in which all connections are opened and send a first request that is not measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Sends requests on `connections` connections at a rate in requests per second of all of them, for
/// a number of seconds.
pub fn load(
    address: SocketAddr,
    requests: &[Arc<[u8]>],
    connections: usize,
    (rate, seconds): (f64, f64),
) -> Loaded {
    let started = Instant::now() + WARM_UP;
    let interval = connections as f64 / rate;
    let end = started + Duration::from_secs_f64(seconds);
    let threads: Vec<_> = (0..connections)
        .map(|nth| {
            let requests = requests.to_vec();
            // The connections are out of step, so that their requests do not come in bursts.
            let first = interval * nth as f64 / connections as f64;
            let due = move |turn: usize| {
                started + Duration::from_secs_f64(interval.mul_add(turn as f64, first))
            };
            thread::spawn(move || {
                let mut connection = Connection::open(address).expect("a connection");
                connection
                    .ask(&requests[nth % requests.len()])
                    .expect("an answer");
                let mut loaded = Loaded::default();
                for turn in 0.. {
                    let due = due(turn);
                    if due >= end {
                        break;
                    }
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let request = &requests[(nth * 7 + turn) % requests.len()];
                    let answer = connection.ask(request).expect("an answer");
                    loaded.add(due, answer);
                }
                loaded
            })
        })
        .collect();
    let all = threads.into_iter().map(thread::JoinHandle::join);
    let all = all.map(|it| it.expect("the client did not panic"));
    Loaded::sum(all.collect(), Some(rate), started)
}

/// One connection. Its answers have a `Content-Length`.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; 256 << 10];
        Ok(Self { stream, buffer })
    }

    /// Sends a request; returns the status of its answer and the number of bytes received.
    fn ask(&mut self, request: &[u8]) -> io::Result<(u16, usize)> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            match answer_bytes(&self.buffer[..filled]) {
                Some((status, bytes)) if filled >= bytes => return Ok((status, filled)),
                Some((_, bytes)) if bytes > self.buffer.len() => self.buffer.resize(bytes, 0),
                _ => {}
            }
        }
    }
}
