//! Room on the server's disk, which JetStream reserves: what a log takes of it, and what happens when there is none.

use skytide_core::config::ByteSize;
use skytide_core::port::log::Log;
use skytide_tests::contract_log::{events, write};
use skytide_tests::servers::Nats;

use super::{chain, connect, named, own_stream};

const GIB: u64 = 1 << 30;

/// Writes, and answers at how many bytes writing would wait.
async fn bytes_max(config: &super::Config) -> u64 {
    let log = connect(config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(0, 3)).await;
    log.bounds().await.unwrap().bytes_max
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_option_the_log_takes_what_the_server_has() {
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
async fn without_an_option_a_log_keeps_its_size() {
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
async fn a_server_without_the_room_to_reserve_is_told_with_the_option_to_change() {
    let Some(nats) = Nats::with_room("1GB") else {
        return;
    };
    let mut config = named(&nats.url());
    for bytes_max in [None, Some(ByteSize(2 * GIB))] {
        config.bytes_max = bytes_max;
        let error = skytide::nats::NatsLog::connect(&config).await.unwrap_err();
        assert!(
            chain(&error).contains("lower NATS_BYTES_MAX"),
            "{}",
            chain(&error)
        );
    }
    config.bytes_max = Some(ByteSize(GIB / 2));
    assert_eq!(bytes_max(&config).await, GIB / 2);
}

/// Its servers refuse in other words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_of_a_cluster() {
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

/// Else ingest would go back to the newest tick again and again, and read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_grow_is_written_all_the_same() {
    let Some(nats) = Nats::with_room("3GB") else {
        return;
    };
    let mut config = named(&nats.url());
    assert_eq!(bytes_max(&config).await, GIB);
    config.bytes_max = Some(ByteSize(8 * GIB));
    assert_eq!(bytes_max(&config).await, GIB);
}
