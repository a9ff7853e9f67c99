//! What every log promises, one function a sentence. [`log_contract!`](crate::log_contract) makes tests of them all
//! for one implementation, so that none can be left out.
//!
//! The sentences hold for weaker logs, too: several messages may share a position, and a reader may see messages
//! before or only when they are durable. So they flush before they look.

use std::sync::{Arc, Mutex};

use skytide_core::event::{Body, Event, Message, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Seq, Tid};
use skytide_core::port::log::{Log, LogError, LogReader, LogWriter, READ_BYTES_MAX};
use skytide_core::time::Timestamp;

/// The size limit of the logs under test. Segments or their like should be far smaller.
pub const BYTES_MAX: u64 = 1 << 20;

/// Makes one test of each sentence, for the logs that `$make` makes: an async function that answers
/// `(Arc<dyn Log>, whatever must outlive it)`, each time another, empty log with the limit [`BYTES_MAX`]. With
/// `, where available` it answers an option of that, and without a log the sentence is skipped.
#[macro_export]
macro_rules! log_contract {
    ($make:path) => {
        async fn made() -> Option<(
            std::sync::Arc<dyn skytide_core::port::log::Log>,
            Box<dyn std::any::Any>,
        )> {
            let (log, kept) = $make().await;
            Some((log, Box::new(kept)))
        }
        $crate::log_contract!(made, where available);
    };
    ($make:path, where available) => {
        $crate::log_contract! {
            @sentences $make:
            an_empty_log_has_neither_messages_nor_ticks,
            messages_come_back_as_they_were_in_their_order,
            a_flush_answers_the_position_behind_everything,
            a_reader_starts_wherever_it_is_told,
            a_position_that_was_never_written_is_refused,
            the_newest_durable_tick_is_found_with_its_position,
            one_writer_at_a_time,
            the_next_writer_goes_on_behind_what_was_flushed,
            a_reader_answers_with_few_messages_if_they_are_large,
            a_reader_at_the_end_waits_and_is_woken,
            a_reader_that_is_dropped_while_it_waits_loses_nothing,
            readers_beside_a_writer_see_one_order_without_a_gap,
            trimming_keeps_what_it_was_told_to_keep,
            trimming_keeps_the_newest_tick,
            a_reader_never_skips_what_was_trimmed_before_it,
            appending_waits_at_the_size_limit_until_the_log_is_trimmed,
        }
    };
    (@sentences $make:path: $($sentence:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $sentence() {
            let Some((log, _kept)) = $make().await else {
                return;
            };
            $crate::contract_log::$sentence(&*log).await;
        }
    )*};
}

/// An event that is told apart by its number, about 250 bytes long.
pub fn event(number: u64) -> Message {
    let mut did = [0; 15];
    did[..8].copy_from_slice(&number.to_be_bytes());
    let body = Body::Account {
        active: number.is_multiple_of(2),
        status: Some("x".repeat(150 + number as usize % 50).into()),
    };
    let body = match number % 3 {
        0 => body,
        1 => Body::Identity {
            handle: Some(format!("{}.example", "h".repeat(200)).into()),
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
        settled: false,
        sources: Sources::default(),
        counts: [("frames/#commit".into(), epoch)].into(),
    })
}

/// `count` events from number `from` on.
pub fn events(from: u64, count: u64) -> Vec<Message> {
    (from..from + count).map(event).collect()
}

/// Appends and flushes.
pub async fn write(writer: &mut dyn LogWriter, messages: Vec<Message>) -> Seq {
    writer.append(messages).await.unwrap();
    writer.flush().await.unwrap()
}

/// The next `count` messages.
pub async fn read(reader: &mut dyn LogReader, count: usize) -> Vec<(Seq, Message)> {
    let mut read = Vec::new();
    while read.len() < count {
        let more = reader.next(count - read.len()).await.unwrap();
        assert!(!more.is_empty(), "a reader waits for at least one message");
        read.extend(more);
    }
    assert!(
        read.is_sorted_by_key(|(seq, _)| *seq),
        "positions never fall"
    );
    read
}

fn messages(read: Vec<(Seq, Message)>) -> Vec<Message> {
    read.into_iter().map(|(_, message)| message).collect()
}

/// Writes `epochs` epochs of 20 events and a tick; answers all messages.
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

/// An empty log begins where it ends.
pub async fn an_empty_log_has_neither_messages_nor_ticks(log: &dyn Log) {
    let bounds = log.bounds().await.unwrap();
    assert_eq!(bounds.first, bounds.next);
    assert_eq!(bounds.bytes_max, BYTES_MAX);
    assert!(bounds.bytes < bounds.bytes_max);
    assert_eq!(log.newest_tick().await.unwrap(), None);
}

/// Every kind of message survives, in the order of appending.
pub async fn messages_come_back_as_they_were_in_their_order(log: &dyn Log) {
    let from = log.bounds().await.unwrap().next;
    let mut writer = log.writer().await.unwrap();
    let written = write_epochs(&mut *writer, 20).await;
    let mut reader = log.reader(from).await.unwrap();
    let read = read(&mut *reader, written.len()).await;
    assert!(read.last().unwrap().0 < log.bounds().await.unwrap().next);
    assert_eq!(messages(read), written);
}

/// A flush without news is fine.
pub async fn a_flush_answers_the_position_behind_everything(log: &dyn Log) {
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

/// From each position on, inclusive.
pub async fn a_reader_starts_wherever_it_is_told(log: &dyn Log) {
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

/// Another log than the one we knew: told, not waited for.
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

/// The tick at the position is the newest; a flush makes it so.
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

/// Held until the writer is dropped.
pub async fn one_writer_at_a_time(log: &dyn Log) {
    let mut writer = log.writer().await.unwrap();
    assert!(matches!(log.writer().await.err(), Some(LogError::Held)));
    write(&mut *writer, events(0, 3)).await;
    assert!(matches!(log.writer().await.err(), Some(LogError::Held)));
    drop(writer);
    log.writer().await.unwrap();
}

/// Several writers, one after the other, make one log.
pub async fn the_next_writer_goes_on_behind_what_was_flushed(log: &dyn Log) {
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

/// As `select!` does it.
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

/// Three of them, with batches of different sizes.
pub async fn readers_beside_a_writer_see_one_order_without_a_gap(log: &dyn Log) {
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

/// And what it forgets is refused, not skipped.
pub async fn trimming_keeps_what_it_was_told_to_keep(log: &dyn Log) {
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
        let kept: Vec<_> = all
            .iter()
            .filter(|it| it.0 >= bounds.first)
            .cloned()
            .collect();
        let mut reader = log.reader(bounds.first).await.unwrap();
        assert_eq!(read(&mut *reader, kept.len()).await, kept);
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

/// Ingest resumes from it.
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

/// It reads on or is told `Trimmed`.
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

/// And goes on by itself.
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
