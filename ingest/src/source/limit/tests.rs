//! `tungstenite` reads the bytes that the limit passes on. The messages that it must return are
//! computed from the messages that were sent.

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

const LIMIT: usize = 300;

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % below
}

/// A frame in the shortest form (RFC 6455, 5.2).
fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload.len() {
        length @ 0..126 => bytes.push(length as u8),
        length @ 126..65_536 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// The part of a message that a client receives: all of it, or one byte more than the limit.
fn received(opcode: u8, fragments: usize, payload: &[u8]) -> Message {
    let passed = payload[..payload.len().min(LIMIT + 1)].to_vec();
    if opcode == 1 && fragments == 1 && payload.len() <= LIMIT {
        return Message::Text(String::from_utf8(passed).unwrap().into());
    }
    Message::Binary(passed.into())
}

/// A stream of messages, some fragmented with pings between the fragments, and the expected
/// messages.
fn stream(seed: u64) -> (Vec<u8>, Vec<Message>) {
    let mut state = seed;
    let mut bytes = Vec::new();
    let mut messages = Vec::new();
    for number in 0..200 {
        let length = match random(&mut state, 4) {
            0 => random(&mut state, 4),
            1 => LIMIT as u64 - 2 + random(&mut state, 5),
            2 => random(&mut state, 2_000),
            _ => random(&mut state, 80_000),
        };
        let opcode = 1 + random(&mut state, 2) as u8;
        let payload = "\u{e4}\u{20ac}x".repeat(length as usize / 6 + 1);
        let payload = &payload.as_bytes()[..length as usize / 6 * 6];
        let fragments = 1 + random(&mut state, 3) as usize;
        let size = payload.len().div_ceil(fragments).max(1);
        for fragment in 0..fragments {
            let part = &payload[(fragment * size).min(payload.len())..];
            let part = &part[..part.len().min(size)];
            let opcode = if fragment == 0 { opcode } else { 0 };
            bytes.extend(frame(opcode, fragment + 1 == fragments, part));
            if random(&mut state, 3) == 0 {
                bytes.extend(frame(9, true, &[number; 7]));
            }
        }
        messages.push(received(opcode, fragments, payload));
    }
    (bytes, messages)
}

/// The messages that a WebSocket client receives if the bytes arrive in pieces of random length.
async fn read(bytes: Vec<u8>, seed: u64) -> Vec<Result<Message, Error>> {
    let (mut server, client) = tokio::io::duplex(1 << 20);
    let mut limit = MessageLimit::new(client, LIMIT);
    // The handshake is over.
    limit.frames.state = State::Header;
    let sending = tokio::spawn(async move {
        let mut state = seed;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + random(&mut state, 30) as usize));
            // The write fails if the client has disconnected.
            if server.write_all(piece).await.is_err() {
                return;
            }
            rest = after;
            if random(&mut state, 8) == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut replies = Vec::new();
        // Both fail if the client has disconnected.
        let _shutdown = server.shutdown().await;
        let _read = server.read_to_end(&mut replies).await;
    });
    // A buffer that is smaller than most messages, so that it is filled to its last byte.
    let config = WebSocketConfig::default()
        .read_buffer_size(64)
        .max_message_size(Some(LIMIT + 1))
        .max_frame_size(Some(LIMIT + 1));
    let socket = WebSocketStream::from_raw_socket(limit, Role::Client, Some(config)).await;
    let read: Vec<_> = socket.collect().await;
    sending.await.unwrap();
    read
}

#[tokio::test]
async fn a_message_over_the_limit_is_truncated_however_its_bytes_arrive() {
    for seed in 0..20 {
        println!("seed {seed}");
        let (bytes, expected) = stream(seed);
        let read = read(bytes, seed).await;
        // The stream ends without a close frame.
        let errors = read.iter().filter(|message| message.is_err()).count();
        assert!(errors == 0 || errors == 1 && read.last().is_some_and(Result::is_err));
        let read: Vec<_> = read.into_iter().filter_map(Result::ok).collect();
        let messages: Vec<_> = read
            .into_iter()
            .filter(|message| !message.is_ping())
            .collect();
        assert_eq!(messages, expected);
    }
}

#[test]
fn frames_are_truncated_from_the_end_of_the_handshake_response_on() {
    // The first line looks like a frame over the limit: it is text of the response.
    let response = b"HTTP/1.1 101 Switching Protocols\r\n\x82\x7f: \r\r\n\r\n";
    let whole = [response.as_slice(), &frame(2, true, &[7; LIMIT + 50])].concat();
    let expected = LIMIT + 1;
    for split in 0..=response.len() {
        let mut frames = Truncation::new(LIMIT as u64);
        let (mut first, mut second) = (whole[..split].to_vec(), whole[split..].to_vec());
        assert_eq!(frames.apply(&mut first), (split, split));
        let (kept, _) = frames.apply(&mut second);
        let kept = [&first, &second[..kept]].concat();
        assert_eq!(&kept[..response.len()], response);
        assert_eq!(
            kept[response.len() + 4..],
            vec![7; expected],
            "split at {split}"
        );
        assert_eq!(
            kept[response.len() + 2..][..2],
            (expected as u16).to_be_bytes()
        );
    }
}

#[tokio::test]
async fn a_message_too_large_to_be_skipped_ends_the_connection() {
    let mut bytes = frame(2, true, b"before");
    bytes.extend([0x82, 127]);
    bytes.extend((MESSAGE_BYTES_SKIPPED_MAX + 1).to_be_bytes());
    let mut read = read(bytes, 1).await;
    let error = read.pop().unwrap().unwrap_err();
    assert_eq!(read.len(), 1);
    let Error::Io(error) = error else {
        panic!("{error}");
    };
    assert!(error.get_ref().unwrap().is::<MessageTooLarge>());
    assert!(error.to_string().contains("1073741825"), "{error}");
}
