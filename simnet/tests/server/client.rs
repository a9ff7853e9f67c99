//! A client of the stream and of the other endpoints.

use futures_util::{SinkExt, StreamExt};
use skytide_simnet::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::frames::seq_of;

/// An open stream.
pub struct Client(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Something received on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A frame with its sequence number.
    Seq(u64),
    /// An error frame or `#info`, with its name.
    Named(String),
    /// Another binary message.
    Binary,
    /// A text message.
    Text,
    /// A close frame with its code.
    Closed(u16),
    /// The end without a close frame.
    Ended,
}

impl Client {
    /// Requests the stream. Returns status and `Retry-After` of a refusal.
    pub async fn ask(server: &Server, cursor: Option<u64>) -> Result<Self, (u16, Option<String>)> {
        let query = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let path = "/xrpc/com.atproto.sync.subscribeRepos";
        let url = format!("{}{path}{query}", server.relay_url());
        let limit = Some(5_000_000);
        let config = WebSocketConfig::default()
            .max_message_size(limit)
            .max_frame_size(limit);
        match connect_async_with_config(url, Some(config), false).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => {
                let after = response.headers().get("retry-after");
                let after = after.map(|it| it.to_str().expect("text").to_owned());
                Err((response.status().as_u16(), after))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a stream that must not be refused.
    pub async fn open(server: &Server, cursor: Option<u64>) -> Self {
        Self::ask(server, cursor).await.expect("a stream")
    }

    /// The next message, except pings and pongs.
    pub async fn message(&mut self) -> Option<Result<Message, Error>> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Pong(_) | Message::Ping(_))) => {}
                message => return message,
            }
        }
    }

    /// The next thing received.
    pub async fn next(&mut self) -> Got {
        match self.message().await {
            Some(Ok(Message::Binary(bytes))) => match (seq_of(&bytes), message_name(&bytes)) {
                (Some(seq), _) => Got::Seq(seq),
                (None, Some(name)) => Got::Named(name),
                (None, None) => Got::Binary,
            },
            Some(Ok(Message::Text(_))) => Got::Text,
            Some(Ok(Message::Close(Some(close)))) => Got::Closed(close.code.into()),
            Some(Ok(_) | Err(_)) | None => Got::Ended,
        }
    }

    /// The next `count` things received.
    pub async fn some(&mut self, count: usize) -> Vec<Got> {
        let mut some = Vec::with_capacity(count);
        for _ in 0..count {
            some.push(self.next().await);
        }
        some
    }

    /// The bytes of the next `count` frames.
    pub async fn bytes(&mut self, count: usize) -> Vec<bytes::Bytes> {
        let mut frames = Vec::with_capacity(count);
        while frames.len() < count {
            match self.message().await {
                Some(Ok(Message::Binary(bytes))) => frames.push(bytes),
                other => panic!("{other:?} after {} frames", frames.len()),
            }
        }
        frames
    }

    /// Sends a ping; returns whether the pong is the next message.
    pub async fn ping(&mut self) -> bool {
        self.0
            .send(Message::Ping(bytes::Bytes::from_static(b"you")))
            .await
            .expect("sent");
        matches!(self.0.next().await, Some(Ok(Message::Pong(_))))
    }
}

/// The frames `from` to `to`.
pub fn seqs(from: u64, to: u64) -> Vec<Got> {
    (from..=to).map(Got::Seq).collect()
}

/// The name in an error frame or `#info`.
fn message_name(frame: &[u8]) -> Option<String> {
    let begin = ["eerror", "dname"].iter().find_map(|key| {
        let key = key.as_bytes();
        let at = frame.windows(key.len()).position(|it| it == key)?;
        Some(at + key.len())
    })?;
    let length = usize::from(frame.get(begin)? & 31);
    let name = frame.get(begin + 1..begin + 1 + length)?;
    String::from_utf8(name.to_vec()).ok()
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends a GET request to the server.
pub async fn get(server: &Server, path: &str) -> Answer {
    let address = server.address().to_string();
    get_as(server, path, &address).await
}

/// Sends a GET request with another `Host`.
pub async fn get_as(server: &Server, path: &str, host: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address()).await.expect("open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        body: answer[end + 4..].to_vec(),
        head,
    }
}
