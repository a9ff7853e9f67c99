//! One writer at a time, also over several processes, and after a writer was disconnected.

use async_nats::jetstream;
use skytide_core::event::Message;
use skytide_core::port::log::{Log, LogError};
use skytide_tests::contract_log::{event, events, read, tick, write};
use skytide_tests::servers::{Link, Nats};

use super::{Config, chain, connect, from_the_first, messages, named, own_stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_writer_is_refused_while_the_first_one_lives() {
    let Some(config) = own_stream() else { return };
    let (one, other) = (connect(&config).await, connect(&config).await);
    let mut writer = one.writer().await.unwrap();
    assert!(matches!(other.writer().await.err(), Some(LogError::Held)));
    write(&mut *writer, events(0, 5)).await;
    assert!(matches!(other.writer().await.err(), Some(LogError::Held)));
    drop(writer);
    let mut writer = other.writer().await.unwrap();
    write(&mut *writer, events(5, 5)).await;
    assert!(matches!(one.writer().await.err(), Some(LogError::Held)));
    let mut reader = from_the_first(&one).await;
    assert_eq!(messages(read(&mut *reader, 10).await), events(0, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_superseded_while_held_up_cannot_write() {
    let Some((link, far, near)) = far_and_near() else {
        return;
    };
    let (far, near) = (connect(&far).await, connect(&near).await);

    let mut held_up = far.writer().await.unwrap();
    write(&mut *held_up, vec![event(1), tick(1), event(2)]).await;
    link.hold();
    // These messages are in flight when the other writer takes over.
    held_up.append(events(100, 20)).await.unwrap();
    let mut writer = near.writer().await.unwrap();
    write(&mut *writer, vec![event(2), tick(2)]).await;
    link.mend();
    let error = held_up.flush().await.unwrap_err();
    assert!(matches!(error, LogError::Failed { .. }));
    assert!(
        chain(&error).contains("another writer has taken over"),
        "{}",
        chain(&error)
    );
    assert!(held_up.append(events(200, 1)).await.is_err());
    assert!(matches!(far.writer().await.err(), Some(LogError::Held)));

    write(&mut *writer, vec![event(3), tick(3)]).await;
    let written = [
        event(1),
        tick(1),
        event(2),
        event(2),
        tick(2),
        event(3),
        tick(3),
    ];
    let mut reader = from_the_first(&near).await;
    assert_eq!(messages(read(&mut *reader, written.len()).await), written);
}

/// After another writer's claim, the messages in flight are stored, except those whose positions
/// are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tick_covers_messages_that_a_claim_displaced() {
    for displaced in [1, 2, 30] {
        let Some((link, far, near)) = far_and_near() else {
            return;
        };
        let mut writer = connect(&far).await.writer().await.unwrap();
        let next = write(&mut *writer, vec![event(1), tick(1), event(2)]).await;
        link.hold();
        let mut epochs = events(100, 20);
        epochs.push(tick(2));
        epochs.extend(events(200, 20));
        epochs.push(tick(3));
        let writing = tokio::spawn(async move {
            writer.append(epochs).await?;
            writer.flush().await
        });
        take_places(&near, next.0 - 1, displaced).await;
        link.mend();
        let error = writing.await.unwrap().unwrap_err();
        let text = chain(&error);
        assert!(text.contains("another writer has taken over"), "{text}");
        assert_eq!(
            newest_tick(&near).await,
            tick(1),
            "{displaced} were displaced"
        );
    }
}

/// The message was lost on its way, so no response says that its position is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tick_covers_a_lost_message_after_which_others_were_stored() {
    let Some((link, far, near)) = far_and_near() else {
        return;
    };
    let log = connect(&far).await;
    let mut writer = log.writer().await.unwrap();
    let next = write(&mut *writer, vec![event(1), tick(1)]).await;
    link.hold();
    writer.append(vec![event(2)]).await.unwrap();
    link.holds_something().await;
    link.cut();
    while log.problem().is_none() {
        tokio::task::yield_now().await;
    }
    take_places(&near, next.0 - 1, 1).await;
    writer.append(vec![event(3)]).await.unwrap();
    link.mend();
    let rest = async {
        writer.append(vec![tick(2)]).await?;
        writer.flush().await
    };
    let text = chain(&rest.await.unwrap_err());
    assert!(text.contains("another writer has taken over"), "{text}");
    assert_eq!(newest_tick(&near).await, tick(1));
}

async fn newest_tick(config: &Config) -> Message {
    let newest = connect(config).await.newest_tick().await.unwrap();
    Message::Tick(newest.unwrap().1)
}

/// Performs the first steps of a new writer by hand: its claim after `last`, and then its fillers.
async fn take_places(config: &Config, last: u64, count: u64) {
    let url = config.url[0].with_secret();
    let jetstream = jetstream::new(async_nats::connect(url).await.unwrap());
    for last in last..last + count {
        let message = jetstream::message::PublishMessage::build().expected_last_sequence(last);
        let subject = format!("{}.firehose.writer", config.stream.as_str());
        let stored = jetstream.send_publish(subject, message).await.unwrap();
        stored.await.unwrap();
    }
}

/// Options for one stream: through a link, and directly.
fn far_and_near() -> Option<(Link, Config, Config)> {
    let url = Nats::shared()?;
    let link = Link::to(url.rsplit(':').next()?.parse().ok()?);
    let near = named(&url);
    let at_link = Config::at(&format!("nats://127.0.0.1:{}", link.port()));
    let far = Config {
        url: at_link.unwrap().url,
        ..near.clone()
    };
    Some((link, far, near))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_writers_one_succeeds() {
    let Some(config) = own_stream() else { return };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let log = connect(&config).await;
        tasks.spawn(async move { log.writer().await });
    }
    let tried = tasks.join_all().await;
    let held = |it: &Result<_, LogError>| matches!(it, Err(LogError::Held));
    assert_eq!(tried.iter().filter(|it| it.is_ok()).count(), 1);
    assert_eq!(tried.iter().filter(|it| held(it)).count(), 4);
}
