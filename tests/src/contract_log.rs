//! The contract of a log: one function per property, named by the property.
//! [`log_contract!`](crate::log_contract) turns all of them into tests of one implementation, so
//! that none can be left out.
//!
//! The properties also hold for weaker logs: several messages may share a position, and a reader
//! may receive messages before they are durable or only afterwards. Therefore the tests flush
//! before they read.

use std::sync::{Arc, Mutex};

use skytide_core::event::{Body, Event, Message, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Seq, Tid};
use skytide_core::port::log::{Log, LogError, LogReader, LogWriter, READ_BYTES_MAX};
use skytide_core::time::Timestamp;

/// The size limit of the logs under test. Segments, or whatever the log divides itself into, should
/// be far smaller.
pub const BYTES_MAX: u64 = 1 << 20;

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn Log>, guard)` with a new, empty log of size limit [`BYTES_MAX`]; the guard outlives
/// the log. With `, where available` it returns an `Option` of that, and `None` skips the test.
#[macro_export]
macro_rules! log_contract {
    ($make:path) => {
        async fn made() -> Option<(
            std::sync::Arc<dyn skytide_core::port::log::Log>,
            Box<dyn std::any::Any>,
        )> {
            let (log, guard) = $make().await;
            Some((log, Box::new(guard)))
        }
        $crate::log_contract!(made, where available);
    };
    ($make:path, where available) => {
        $crate::log_contract! {
            @properties $make:
            an_empty_log_has_neither_messages_nor_ticks,
            messages_are_read_back_unchanged_and_in_order,
            a_flush_returns_the_position_after_all_messages,
            a_reader_starts_at_the_requested_position,
            a_position_that_was_never_written_is_refused,
            the_newest_durable_tick_is_found_with_its_position,
            one_writer_at_a_time,
            the_next_writer_appends_after_what_was_flushed,
            a_reader_answers_with_few_messages_if_they_are_large,
            a_reader_at_the_end_waits_and_is_woken,
            a_reader_that_is_dropped_while_it_waits_loses_nothing,
            concurrent_readers_see_one_order_without_a_gap,
            trimming_removes_only_messages_below_its_position,
            trimming_keeps_the_newest_tick,
            a_reader_never_skips_what_was_trimmed_before_it,
            appending_waits_at_the_size_limit_until_the_log_is_trimmed,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((log, _guard)) = $make().await else {
                return;
            };
            $crate::contract_log::$property(&*log).await;
        }
    )*};
}

/// An event of about 250 bytes, identified by its number.
pub fn event(number: u64) -> Message {
    let mut did = [0; 15];
    did[..8].copy_from_slice(&number.to_be_bytes());
    let body = Body::Account {
        active: number.is_multiple_of(2),
        status: Some("x".repeat(150 + number as usize % 50).into()),
        sent: Some(Timestamp(1_783_175_886_000 + number)),
    };
    let body = match number % 3 {
        0 => body,
        1 => Body::Identity {
            handle: Some(format!("{}.example", "h".repeat(200)).into()),
            sent: None,
        },
        _ => Body::Moved {
            rev: Tid(number),
            why: skytide_core::event::Moved::Sync,
        },
    };
    Message::Event(Event {
        host: Arc::from("relay.example"),
        seq: Cursor(number),
        index: 0,
        time: Timestamp(1_783_175_886_928 + number),
        did: Did::from_plc(did),
        body,
    })
}

/// The tick of an epoch.
pub fn tick(epoch: u64) -> Message {
    Message::Tick(Tick {
        epoch: Epoch(epoch),
        time: Timestamp(1_783_175_886_928 + epoch),
        host: Arc::from("relay.example"),
        cursor: Cursor(epoch),
        frames: epoch,
        last: false,
        idle: false,
        sources: Sources::default(),
        counts: [("frames/#commit".into(), epoch)].into(),
    })
}

/// `count` events, numbered from `from`.
pub fn events(from: u64, count: u64) -> Vec<Message> {
    (from..from + count).map(event).collect()
}

/// Appends the messages and flushes.
pub async fn write(writer: &mut dyn LogWriter, messages: Vec<Message>) -> Seq {
    writer.append(messages).await.unwrap();
    writer.flush().await.unwrap()
}

/// Reads the next `count` messages.
pub async fn read(reader: &mut dyn LogReader, count: usize) -> Vec<(Seq, Message)> {
    let mut read = Vec::new();
    while read.len() < count {
        let more = reader.next(count - read.len()).await.unwrap();
        assert!(!more.is_empty(), "a read returns at least one message");
        read.extend(more);
    }
    assert!(
        read.is_sorted_by_key(|(seq, _)| *seq),
        "positions never decrease"
    );
    read
}

fn messages(read: Vec<(Seq, Message)>) -> Vec<Message> {
    read.into_iter().map(|(_, message)| message).collect()
}

/// Writes `epochs` epochs of 20 events and a tick each; returns all messages.
async fn write_epochs(writer: &mut dyn LogWriter, epochs: u64) -> Vec<Message> {
    let mut written = Vec::new();
    for epoch in 1..=epochs {
        let mut messages = events(epoch * 100, 20);
        messages.push(tick(epoch));
        written.extend(messages.clone());
        write(writer, messages).await;
    }
    written
}

/// The first position of an empty log is its end.
pub async fn an_empty_log_has_neither_messages_nor_ticks(log: &dyn Log) {
    let bounds = log.bounds().await.unwrap();
    assert_eq!(bounds.first, bounds.next);
    assert_eq!(bounds.bytes_max, BYTES_MAX);
    assert!(bounds.bytes < bounds.bytes_max);
    assert_eq!(log.newest_tick().await.unwrap(), None);
}

/// Every kind of message is read back, in the order of appending.
pub async fn messages_are_read_back_unchanged_and_in_order(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = write_epochs(&mut *writer, 20).await;
    let mut reader = log.reader(from).await.unwrap();
    let read = read(&mut *reader, written.len()).await;
    assert!(read.last().unwrap().0 < log.bounds().await.unwrap().next);
    assert_eq!(messages(read), written);
}

/// A flush without new messages succeeds, too.
pub async fn a_flush_returns_the_position_after_all_messages(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    let empty = writer.flush().await.unwrap();
    assert_eq!(empty, log.bounds().await.unwrap().next);
    let next = write(&mut *writer, events(0, 7)).await;
    assert!(empty < next);
    assert_eq!(writer.flush().await.unwrap(), next);
    assert_eq!(log.bounds().await.unwrap().next, next);
    writer.append(Vec::new()).await.unwrap();
    assert_eq!(writer.flush().await.unwrap(), next);
}

/// The reader returns the message at the requested position first.
pub async fn a_reader_starts_at_the_requested_position(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = write_epochs(&mut *writer, 8).await;
    let mut reader = log.reader(from).await.unwrap();
    let all = read(&mut *reader, written.len()).await;
    for (seq, _) in &all {
        let wanted: Vec<_> = all.iter().filter(|it| it.0 >= *seq).cloned().collect();
        let mut reader = log.reader(*seq).await.unwrap();
        assert_eq!(read(&mut *reader, wanted.len()).await, wanted, "from {seq}");
    }
}

/// Such a position belongs to another log, so the request fails instead of waiting.
pub async fn a_position_that_was_never_written_is_refused(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    let next = write(&mut *writer, events(0, 3)).await;
    log.reader(next).await.unwrap();
    let wanted = Seq(next.0 + 1);
    match log.reader(wanted).await.err() {
        Some(LogError::Ahead { wanted: w, next: n }) => assert_eq!((w, n), (wanted, next)),
        other => panic!("{other:?}"),
    }
}

/// The returned position is that of the tick. A tick becomes the newest one by a flush.
pub async fn the_newest_durable_tick_is_found_with_its_position(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    for epoch in 1..=30 {
        let batch = vec![event(epoch), tick(1_000 + epoch), event(epoch), tick(epoch)];
        write(&mut *writer, batch).await;
        write(&mut *writer, events(epoch, epoch * 3)).await;
        let (seq, newest) = log.newest_tick().await.unwrap().unwrap();
        assert_eq!(newest.epoch, Epoch(epoch));
        let mut reader = log.reader(seq).await.unwrap();
        let read = messages(read(&mut *reader, 2).await);
        assert!(read.contains(&tick(epoch)), "{read:?}");
    }
}

/// The log is locked until the writer is dropped.
pub async fn one_writer_at_a_time(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    assert!(matches!(log.writer().await.err(), Some(LogError::Held)));
    write(&mut *writer, events(0, 3)).await;
    assert!(matches!(log.writer().await.err(), Some(LogError::Held)));
    drop(writer);
    log.writer().await.unwrap();
}

/// Consecutive writers append to the same log.
pub async fn the_next_writer_appends_after_what_was_flushed(log: &dyn Log) {
    let before = log.bounds().await.unwrap();
    let mut written = Vec::new();
    for turn in 0..10 {
        let mut writer = log.writer().await.unwrap();
        let batch = [events(turn * 10, turn), vec![tick(turn)]].concat();
        written.extend(batch.clone());
        write(&mut *writer, batch).await;
    }
    assert_eq!(log.bounds().await.unwrap().id, before.id);
    let mut reader = log.reader(before.next).await.unwrap();
    assert_eq!(messages(read(&mut *reader, written.len()).await), written);
}

/// However many it may answer with.
pub async fn a_reader_answers_with_few_messages_if_they_are_large(log: &dyn Log) {
    const LARGE: usize = 512 << 10;
    let mut writer = log.writer().await.unwrap();
    let large = (1..=24).map(|number| {
        let Message::Event(mut event) = event(number) else {
            unreachable!("it is an event");
        };
        let status = Some("x".repeat(LARGE).into());
        event.body = Body::Account {
            active: false,
            status,
            sent: None,
        };
        Message::Event(event)
    });
    let mut messages: Vec<_> = large.collect();
    messages.push(tick(1));
    write(&mut *writer, messages).await;
    let first = log.bounds().await.unwrap().first;
    let mut reader = log.reader(first).await.unwrap();
    let mut left = 25;
    while left > 0 {
        let read = reader.next(1_000).await.unwrap();
        left -= read.len();
        let bytes = read
            .iter()
            .map(|(_, message)| message.bytes())
            .sum::<usize>();
        assert!(
            bytes < READ_BYTES_MAX + LARGE + 1_024,
            "{bytes} bytes at once"
        );
    }
}

/// Again and again, each time from the end.
pub async fn a_reader_at_the_end_waits_and_is_woken(log: &dyn Log) {
    let mut reader = log.reader(log.bounds().await.unwrap().next).await.unwrap();
    let mut writer = log.writer().await.unwrap();
    for number in 0..50 {
        let written = async {
            tokio::task::yield_now().await;
            write(&mut *writer, events(number, 1)).await;
        };
        let (read, ()) = tokio::join!(read(&mut *reader, 1), written);
        assert_eq!(messages(read), events(number, 1));
    }
}

/// `select!` drops futures in the same way.
pub async fn a_reader_that_is_dropped_while_it_waits_loses_nothing(log: &dyn Log) {
    let mut reader = log.reader(log.bounds().await.unwrap().next).await.unwrap();
    let mut writer = log.writer().await.unwrap();
    let mut read = Vec::new();
    for number in 0..300 {
        if number % 3 == 0 {
            write(&mut *writer, events(number, 3)).await;
        }
        tokio::select! {
            biased;
            more = reader.next(2) => read.extend(messages(more.unwrap())),
            () = tokio::task::yield_now() => {}
        }
    }
    while read.len() < 300 {
        read.extend(messages(reader.next(7).await.unwrap()));
    }
    assert_eq!(read, events(0, 300));
}

/// Three readers run concurrently with batches of different sizes.
pub async fn concurrent_readers_see_one_order_without_a_gap(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut readers = tokio::task::JoinSet::new();
    for messages_max in [1, 10, 1_000] {
        let mut reader = log.reader(from).await.unwrap();
        readers.spawn(async move {
            let mut all = Vec::new();
            while all.len() < 2_000 {
                all.extend(reader.next(messages_max).await.unwrap());
            }
            all
        });
    }
    let mut writer = log.writer().await.unwrap();
    for from in (0..2_000).step_by(40) {
        write(&mut *writer, events(from, 40)).await;
    }
    let all = readers.join_all().await;
    for read in &all {
        assert!(read.is_sorted_by_key(|(seq, _)| *seq));
        assert_eq!(read, &all[0]);
    }
    assert_eq!(messages(all[0].clone()), events(0, 2_000));
}

/// Reading a trimmed position fails; the reader does not skip ahead.
pub async fn trimming_removes_only_messages_below_its_position(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = write_epochs(&mut *writer, 60).await;
    let mut reader = log.reader(from).await.unwrap();
    let all = read(&mut *reader, written.len()).await;
    for place in [0, 5, 600, 601, 1_200] {
        let (below, _) = all[place];
        log.trim(below).await.unwrap();
        let bounds = log.bounds().await.unwrap();
        assert!(bounds.first <= below);
        let remaining: Vec<_> = all
            .iter()
            .filter(|it| it.0 >= bounds.first)
            .cloned()
            .collect();
        let mut reader = log.reader(bounds.first).await.unwrap();
        assert_eq!(read(&mut *reader, remaining.len()).await, remaining);
        if bounds.first > from {
            let refused = log.reader(Seq(bounds.first.0 - 1)).await.err();
            assert!(
                matches!(refused, Some(LogError::Trimmed { first, .. }) if first == bounds.first)
            );
        }
    }
    assert!(
        log.bounds().await.unwrap().first > from,
        "nothing was trimmed"
    );
}

/// Ingest resumes from the newest tick.
pub async fn trimming_keeps_the_newest_tick(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    write_epochs(&mut *writer, 40).await;
    let next = write(&mut *writer, events(0, 500)).await;
    log.trim(next).await.unwrap();
    let (seq, newest) = log.newest_tick().await.unwrap().unwrap();
    assert_eq!(newest.epoch, Epoch(40));
    let mut reader = log.reader(seq).await.unwrap();
    assert_eq!(messages(read(&mut *reader, 501).await)[0], tick(40));
}

/// The reader continues or fails with `Trimmed`.
pub async fn a_reader_never_skips_what_was_trimmed_before_it(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = write_epochs(&mut *writer, 60).await;
    let mut reader = log.reader(from).await.unwrap();
    let mut seen = messages(read(&mut *reader, 10).await);
    log.trim(log.bounds().await.unwrap().next).await.unwrap();
    while seen.len() < written.len() {
        match reader.next(100).await {
            Ok(more) => seen.extend(messages(more)),
            Err(LogError::Trimmed { .. }) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(seen, written[..seen.len()]);
}

/// A trim unblocks the waiting append; the writer need not retry.
pub async fn appending_waits_at_the_size_limit_until_the_log_is_trimmed(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    let mut epoch = 0;
    while log.bounds().await.unwrap().bytes < BYTES_MAX {
        epoch += 1;
        let batch = [events(epoch * 100, 50), vec![tick(epoch)]].concat();
        write(&mut *writer, batch).await;
    }
    let (newest, _) = log.newest_tick().await.unwrap().unwrap();
    let order = Mutex::new(Vec::new());
    let append = async {
        write(&mut *writer, vec![event(7)]).await;
        order.lock().unwrap().push("appended");
    };
    let trim = async {
        for _ in 0..200 {
            log.bounds().await.unwrap();
            tokio::task::yield_now().await;
        }
        order.lock().unwrap().push("trimmed");
        log.trim(newest).await.unwrap();
    };
    tokio::join!(append, trim);
    assert_eq!(order.into_inner().unwrap(), ["trimmed", "appended"]);
    assert!(log.bounds().await.unwrap().bytes < BYTES_MAX);
}
