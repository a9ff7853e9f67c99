//! The listening socket: binding, and a stop in bounded time.

use std::io::Read;

use skytide_api::{Options, ServeError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::world::World;

fn free_port() -> Options {
    Options {
        address: "127.0.0.1:0".parse().unwrap(),
        ..Options::default()
    }
}

#[test]
fn the_default_address_is_loopback() {
    assert!(Options::default().address.ip().is_loopback());
}

#[tokio::test]
async fn the_error_for_an_address_in_use_names_the_address() {
    let first = Server::bind(free_port()).await.unwrap();
    let options = Options {
        address: first.address(),
        ..Options::default()
    };
    let error = Server::bind(options).await.unwrap_err();
    assert!(matches!(error, ServeError::Bind { .. }));
    assert!(error.to_string().contains(&first.address().to_string()));
}

#[tokio::test]
async fn a_stop_ends_open_streams_and_then_the_server() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let server = Server::bind(free_port()).await.unwrap();
    let address = server.address();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(world.state(), stop.clone()));

    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET /v1/stream HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("event: commit") {
        let mut bytes = [0; 4_096];
        let count = client.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "closed early: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    // The server has stopped, so the end of the stream can be read without waiting.
    let mut rest = Vec::new();
    let read = client.into_std().unwrap().read_to_end(&mut rest);
    assert!(read.is_ok(), "the stream is still open: {read:?}");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream was truncated");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free again"
    );
}
