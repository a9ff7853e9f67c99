//! A stream that is not the previous one, or not complete, is an error: the log never reads past
//! the gap.

use std::path::Path;

use async_nats::jetstream;
use skytide_core::event::Message;
use skytide_core::port::log::{Log, LogError};
use skytide_tests::contract_log::{events, read, tick, write};
use skytide_tests::servers::Nats;

use super::{chain, connect, from_the_first, messages, named, own_stream, raw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_created_again_is_refused() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(0, 10)).await;
    let mut reader = from_the_first(&log).await;
    read(&mut *reader, 10).await;
    let known = log.bounds().await.unwrap().id;

    let client = async_nats::connect(config.url[0].with_secret())
        .await
        .unwrap();
    let deleted = jetstream::new(client)
        .delete_stream(config.stream.as_str())
        .await;
    deleted.unwrap();
    let new = connect(&config).await;
    assert_ne!(new.bounds().await.unwrap().id, known);

    let refused = |error: LogError| {
        assert!(
            matches!(&error, LogError::Damaged(why) if why.contains("created again")),
            "{error}"
        );
    };
    refused(log.bounds().await.unwrap_err());
    refused(log.newest_tick().await.unwrap_err());
    refused(log.trim(skytide_core::id::Seq(5)).await.unwrap_err());
    refused(reader.next(10).await.unwrap_err());
    let written = async {
        writer.append(events(10, 1)).await?;
        writer.flush().await
    };
    refused(written.await.unwrap_err());
}

/// Simulates a server that became leader a moment ago and has not yet applied everything that it
/// knows to be stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_never_receives_a_tick_older_than_the_newest() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, vec![tick(1), tick(2)]).await;
    drop(writer);
    let _writer = log.writer().await.unwrap();
    let stream = raw(&config).await;
    let mut stored = Vec::new();
    for position in 1..log.bounds().await.unwrap().next.0 {
        stored.push(stream.get_raw_message(position).await.unwrap());
    }

    let client = async_nats::connect(config.url[0].with_secret()).await;
    let jetstream = jetstream::new(client.unwrap());
    let same = stream.cached_info().config.clone();
    jetstream.delete_stream(&same.name).await.unwrap();
    jetstream.create_stream(same).await.unwrap();
    let catch_up = async {
        for message in stored {
            let payload = message.payload.clone();
            let sent = jetstream.publish(message.subject, payload).await.unwrap();
            sent.await.unwrap();
            log.bounds().await.unwrap();
        }
    };
    let (newest, ()) = tokio::join!(log.newest_tick(), catch_up);
    let newest = newest.unwrap().map(|(_, tick)| Message::Tick(tick));
    assert_eq!(newest, Some(tick(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_program_is_not_changed() {
    let Some(config) = own_stream() else { return };
    let client = async_nats::connect(config.url[0].with_secret())
        .await
        .unwrap();
    let jetstream = jetstream::new(client);
    jetstream
        .create_stream(config.stream.as_str())
        .await
        .unwrap();
    let error = skytide_nats::NatsLog::connect(&config).await.unwrap_err();
    assert!(
        chain(&error).contains("not a log of Skytide"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_messages_cannot_be_deleted_and_a_deletion_is_detected() {
    let Some(mut config) = own_stream() else {
        return;
    };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(0, 10)).await;
    let stream = raw(&config).await;
    assert!(stream.delete_message(5).await.is_err());

    // A stream with the same metadata that allows deletions.
    let mut lax = stream.cached_info().config.clone();
    config = own_stream().expect("the server is available");
    lax.name = config.stream.to_string();
    lax.subjects = vec![format!("{}.firehose.>", config.stream)];
    lax.deny_delete = false;
    let client = async_nats::connect(config.url[0].with_secret())
        .await
        .unwrap();
    let lax = jetstream::new(client).create_stream(lax).await.unwrap();
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    let from = log.bounds().await.unwrap().next;
    write(&mut *writer, events(0, 10)).await;
    let mut reader = log.reader(from).await.unwrap();
    lax.delete_message(from.0 + 4).await.unwrap();
    let mut seen = Vec::new();
    let error = loop {
        match reader.next(2).await {
            Ok(more) => seen.extend(more),
            Err(error) => break error,
        }
    };
    assert_eq!(messages(seen), events(0, 4));
    assert!(matches!(error, LogError::Damaged(_)), "{error}");
    let error = log.reader(from).await.err();
    assert!(matches!(error, Some(LogError::Damaged(_))), "{error:?}");
}

/// Simulates a power cut of a server that acknowledges before it syncs
/// (<https://jepsen.io/analyses/nats-2.12.1>): its folder reverts to an earlier state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_acknowledged_messages_is_detected() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let config = named(&nats.url());
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, [events(0, 50), vec![tick(1)]].concat()).await;
    nats.stop();
    let old = tempfile::tempdir().unwrap();
    let store = nats.folder().join("jetstream");
    copy(&store, old.path());
    nats.restart();
    let next = write(&mut *writer, events(50, 50)).await;
    let mut reader = from_the_first(&log).await;
    let mut other = from_the_first(&log).await;
    read(&mut *reader, 101).await;
    read(&mut *other, 101).await;

    nats.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy(old.path(), &store);
    nats.restart();
    let lost = async {
        writer.append(events(100, 1)).await?;
        writer.flush().await
    };
    let error = lost.await.unwrap_err();
    assert!(
        chain(&error).contains("has lost messages that it had stored"),
        "{}",
        chain(&error)
    );
    drop(writer);
    assert!(matches!(
        log.reader(next).await.err(),
        Some(LogError::Ahead { .. })
    ));
    let error = reader.next(10).await.unwrap_err();
    assert!(
        matches!(error, LogError::Ahead { wanted, .. } if wanted == next),
        "{error}"
    );

    // The positions are used again: a reader from before finds another message at its position.
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(1_000, 200)).await;
    let error = other.next(10).await.unwrap_err();
    assert!(
        matches!(error, LogError::Damaged(_) | LogError::Ahead { .. }),
        "{error}"
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
