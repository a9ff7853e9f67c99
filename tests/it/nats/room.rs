//! Disk space of the server, which JetStream reserves: how much a log reserves, and what happens if
//! there is not enough.

use skytide_core::config::ByteSize;
use skytide_core::port::log::Log;
use skytide_tests::contract_log::{events, write};
use skytide_tests::servers::Nats;

use super::{chain, connect, named, own_stream};

const GIB: u64 = 1 << 30;

/// Opens a writer and returns the number of bytes at which writing would block.
async fn bytes_max(config: &super::Config) -> u64 {
    let log = connect(config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(0, 3)).await;
    log.bounds().await.unwrap().bytes_max
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_the_log_reserves_what_the_server_has() {
    for (room, taken) in [("64GB", 8 * GIB), ("5GB", 4 * GIB), ("3GB", 2 * GIB)] {
        let Some(nats) = Nats::with_room(room) else {
            return;
        };
        let mut config = named(&nats.url());
        config.bytes_max = None;
        assert_eq!(bytes_max(&config).await, taken, "of {room}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_an_existing_log_keeps_its_size() {
    let Some(mut config) = own_stream() else {
        return;
    };
    assert_eq!(bytes_max(&config).await, GIB);
    config.bytes_max = None;
    assert_eq!(bytes_max(&config).await, GIB);
    config.bytes_max = Some(ByteSize(2 * GIB));
    assert_eq!(bytes_max(&config).await, 2 * GIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_room_is_an_error_that_names_the_option() {
    let Some(nats) = Nats::with_room("1GB") else {
        return;
    };
    let mut config = named(&nats.url());
    for bytes_max in [None, Some(ByteSize(2 * GIB))] {
        config.bytes_max = bytes_max;
        let error = skytide_nats::NatsLog::connect(&config).await.unwrap_err();
        assert!(
            chain(&error).contains("lower NATS_BYTES_MAX"),
            "{}",
            chain(&error)
        );
    }
    config.bytes_max = Some(ByteSize(GIB / 2));
    assert_eq!(bytes_max(&config).await, GIB / 2);
}

/// The servers of a cluster refuse with another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_room_in_a_cluster_is_an_error_that_names_the_option() {
    let Some(cluster) = Nats::cluster_of_three_with_room("3GB") else {
        return;
    };
    let mut config = named(&cluster.url());
    config.replicas = 3;
    config.bytes_max = None;
    assert_eq!(bytes_max(&config).await, 2 * GIB);
    config.bytes_max = Some(ByteSize(8 * GIB));
    assert_eq!(bytes_max(&config).await, 2 * GIB);
}

/// Otherwise ingest would return to the newest tick again and again without reading anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_grow_is_still_written() {
    let Some(nats) = Nats::with_room("3GB") else {
        return;
    };
    let mut config = named(&nats.url());
    assert_eq!(bytes_max(&config).await, GIB);
    config.bytes_max = Some(ByteSize(8 * GIB));
    assert_eq!(bytes_max(&config).await, GIB);
}
