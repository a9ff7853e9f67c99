//! The messages on the server, as `docs/nats.md` describes them, and which readers receive which
//! messages.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt;
use skytide_core::event::{Action, Body, Event, Message, Op};
use skytide_core::id::{Did, Tid};
use skytide_core::port::log::{Log, LogError};
use skytide_nats::PARTITIONS;
use skytide_tests::contract_log::{event, events, read, tick, write};

use super::{connect, from_the_first, messages, own_stream, raw};

fn account(message: &Message) -> Option<&Did> {
    match message {
        Message::Event(event) => Some(&event.did),
        Message::Tick(_) => None,
    }
}

fn partition(message: &Message) -> Option<u16> {
    account(message).map(|did| did.partition(PARTITIONS))
}

/// Epochs of 600 events of 150 accounts.
fn burst(epochs: u64) -> Vec<Message> {
    let epoch = |epoch: u64| {
        let events = (0..600).map(move |number| {
            let Message::Event(it) = event(epoch * 1_000 + number) else {
                panic!("it is one")
            };
            let Message::Event(Event { did, .. }) = event(number % 150) else {
                panic!("it is one")
            };
            Message::Event(Event { did, ..it })
        });
        events.chain([tick(epoch)]).collect::<Vec<_>>()
    };
    (1..=epochs).flat_map(epoch).collect()
}

/// Each account's events and the ticks, in order.
fn by_account(messages: &[Message]) -> BTreeMap<&Did, Vec<&Message>> {
    let mut all: BTreeMap<&Did, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        match account(message) {
            Some(did) => all.entry(did).or_default().push(message),
            None => all.values_mut().for_each(|it| it.push(message)),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_batches_share_messages_and_each_account_keeps_its_order() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = burst(5);
    let next = write(&mut *writer, written.clone()).await;
    let mut reader = log.reader(from).await.unwrap();
    let read = messages(read(&mut *reader, written.len()).await);
    assert_eq!(by_account(&read), by_account(&written));
    assert!(
        next.0 - from.0 < written.len() as u64 / 4,
        "{} messages",
        next.0 - from.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_some_partitions_gets_their_events_and_all_ticks() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = burst(4);
    write(&mut *writer, written.clone()).await;
    let mine = |partition: u16| partition % 4 == 1;
    let partitions: Vec<u16> = (0..PARTITIONS).filter(|it| mine(*it)).collect();
    let wanted: Vec<Message> = written
        .iter()
        .filter(|it| partition(it).is_none_or(mine))
        .cloned()
        .collect();
    let mut reader = log.only(&partitions).reader(from).await.unwrap();
    let read = messages(read(&mut *reader, wanted.len()).await);
    assert_eq!(by_account(&read), by_account(&wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_some_partitions_fails_where_the_log_was_trimmed() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, burst(1)).await;
    let mut reader = log.only(&[3]).reader(from).await.unwrap();
    let (below, _) = log.newest_tick().await.unwrap().unwrap();
    log.trim(below).await.unwrap();
    let error = reader.next(1_000).await.unwrap_err();
    let expected = LogError::Trimmed {
        wanted: from,
        first: below,
    };
    assert_eq!(error.to_string(), expected.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_larger_than_a_message_comes_back_whole() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let Message::Event(small) = event(7) else {
        panic!("it is one")
    };
    let large = Message::Event(Event {
        body: Body::Op(Op {
            rev: Tid(1),
            since: None,
            action: Action::Create,
            collection: "app.bsky.feed.post".parse().unwrap(),
            rkey: Tid(1).into(),
            cid: None,
            record: Some((0..1_900_000_u32).map(|it| it as u8).collect()),
        }),
        ..small
    });
    let mut writer = log.writer().await.unwrap();
    let written = vec![event(1), large.clone(), tick(1), large, tick(2)];
    write(&mut *writer, written.clone()).await;
    let mut reader = from_the_first(&log).await;
    let all = read(&mut *reader, written.len()).await;
    assert!(messages(all.clone()) == written);
    let mut reader = log.reader(all[1].0).await.unwrap();
    assert!(read(&mut *reader, 4).await == all[1..]);
    // A reader that starts in the middle of the event does not receive it.
    let mut reader = log
        .reader(skytide_core::id::Seq(all[1].0.0 + 1))
        .await
        .unwrap();
    assert!(read(&mut *reader, 3).await == all[2..]);
}

/// Somebody may lower the limit of the stream; sent again as it is, the event would be refused for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_larger_than_the_stream_takes_goes_in_parts() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let limited = jetstream::stream::Config {
        max_message_size: 16 << 10,
        ..raw(&config).await.cached_info().config.clone()
    };
    let client = async_nats::connect(config.url[0].with_secret()).await;
    let context = jetstream::new(client.unwrap());
    context.update_stream(limited).await.unwrap();
    let Message::Event(small) = event(7) else {
        panic!("it is one")
    };
    let status = Some("s".repeat(200_000).into());
    let body = Body::Account {
        active: false,
        status,
        sent: None,
    };
    let large = Message::Event(Event { body, ..small });
    let mut writer = log.writer().await.unwrap();
    let written = vec![event(1), large, tick(1)];
    write(&mut *writer, written.clone()).await;
    let mut reader = from_the_first(&log).await;
    let all = read(&mut *reader, written.len()).await;
    assert!(messages(all) == written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_programs_find_each_event_under_its_subject() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    let written = events(0, 90);
    write(&mut *writer, written.clone()).await;
    let stream = raw(&config).await;
    for (kind, name) in ["account", "identity", "sync"].into_iter().enumerate() {
        let consumer = pull::Config {
            deliver_policy: DeliverPolicy::All,
            filter_subject: format!("{}.firehose.*.{name}", config.stream),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(consumer).await.unwrap();
        let mut found = Vec::new();
        let mut batch = consumer.fetch().max_messages(100).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            let message = message.unwrap();
            for event in Message::decode_all(&message.payload).unwrap() {
                let subject = format!(
                    "{}.firehose.p{:02}.{name}",
                    config.stream,
                    partition(&event).unwrap()
                );
                assert_eq!(*message.subject, *subject);
                found.push(event);
            }
        }
        let wanted: Vec<_> = written.iter().skip(kind).step_by(3).cloned().collect();
        assert_eq!(found, wanted);
    }
}

/// As a version before this one wrote them, which named no format, and as a later one will.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_former_format_are_read_and_those_of_a_later_one_refused_as_such() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let client = async_nats::connect(config.url[0].with_secret()).await;
    let jetstream = jetstream::new(client.unwrap());
    let publish = async |writer: Option<&str>, message: &Message| {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        let mut headers = HeaderMap::new();
        writer
            .into_iter()
            .for_each(|it| headers.insert("Skytide-Writer", it));
        let subject = format!("{}.firehose.tick", config.stream);
        let sent = jetstream.publish_with_headers(subject, headers, payload.into());
        sent.await.unwrap().await.unwrap();
    };
    let from = log.bounds().await.unwrap().next;
    publish(None, &tick(1)).await;
    publish(Some("0123456789abcdef"), &tick(2)).await;
    publish(Some("0123456789abcdef/1"), &tick(3)).await;
    let mut reader = log.reader(from).await.unwrap();
    let former = messages(read(&mut *reader, 3).await);
    assert_eq!(former, [tick(1), tick(2), tick(3)]);
    let newest = log.newest_tick().await.unwrap();
    assert_eq!(newest.map(|(_, it)| it.epoch.0), Some(3));

    publish(Some("0123456789abcdef/2"), &tick(4)).await;
    let refused = |error: LogError| {
        assert!(matches!(error, LogError::Newer(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("written by a newer version"), "{text}");
        assert!(text.contains("format 2"), "{text}");
    };
    refused(reader.next(10).await.unwrap_err());
    refused(log.newest_tick().await.unwrap_err());
}

/// A message of this version says its format where versions before look for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_names_its_writer_and_its_format() {
    let Some(config) = own_stream() else { return };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    let next = write(&mut *writer, vec![event(1), tick(1)]).await;
    let stream = raw(&config).await;
    for position in [next.0 - 2, next.0 - 1] {
        let message = stream.get_raw_message(position).await.unwrap();
        let writer = message.headers.get("Skytide-Writer").expect("a writer");
        let (run, format) = writer.as_str().split_once('/').expect("a format");
        assert_eq!((run.len(), format), (16, "1"));
    }
}
