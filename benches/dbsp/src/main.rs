//! The six views of `cargo bench -p skytide-tests -- six`, computed by the crate dbsp.
//!
//! `skytide-bench-dbsp FILE WORKERS [verify]` reads the messages that the benchmark wrote, feeds one
//! epoch after another, and prints one line: `events`, `seconds`, `cpu_seconds`, `peak_bytes` (above
//! the memory of the messages), `changes`, and with `verify` the `digest` of each kind of row.

#[path = "../../../tests/src/textbook/input.rs"]
#[expect(dead_code, reason = "the views of this benchmark need a part of it")]
mod input;
mod views;

use std::time::Instant;

use dbsp::utils::{Tup2, Tup3, Tup5};
use dbsp::{Runtime, operator::Update};
use input::{Change, Content, Input, POSTS, Reader, RecordKey, Subject};
use skytide_core::event::{Event, Message, Tick};
use skytide_core::id::{Did, PostKey};
use skytide_core::time::Minute;
use skytide_core::view::Window;
use views::{Account, Handles, LiveKey, LiveRecord, Post, circuit};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a file of messages");
    let workers: usize = args
        .next()
        .expect("a number of workers")
        .parse()
        .expect("a number");
    let verify = args.next().is_some();
    let bytes = std::fs::read(path).expect("the file is readable");
    let messages = Message::decode_all(&bytes).expect("messages of the log");
    drop(bytes);
    let before = status_bytes("VmRSS:");
    let (mut dbsp, handles) =
        Runtime::init_circuit(workers, circuit).expect("the circuit is valid");
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut reader = Reader::new();
    let (mut events, mut changes) = (0, 0);
    let mut digests = [0_u64; 7];
    for (epoch, tick) in epochs(&messages) {
        events += epoch.len();
        feed(&handles, reader.read(epoch.iter().copied(), tick), tick);
        dbsp.transaction().expect("the circuit runs");
        changes += match verify {
            true => handles.digest(reader.collections(), &mut digests),
            false => handles.count(),
        };
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let peak = status_bytes("VmHWM:").saturating_sub(before);
    print!("events {events} seconds {seconds:.3} cpu_seconds {cpu:.3} peak_bytes {peak}");
    print!(" changes {changes}");
    if verify {
        print!(" digest");
        digests.iter().for_each(|digest| print!(" {digest:016x}"));
    }
    println!();
    dbsp.kill().expect("the workers stop");
}

/// The events of each epoch, and its tick.
fn epochs(messages: &[Message]) -> impl Iterator<Item = (Vec<&Event>, &Tick)> {
    let is_tick = |message: &Message| matches!(message, Message::Tick(_));
    messages.split_inclusive(is_tick).map(|epoch| {
        let Some((Message::Tick(tick), events)) = epoch.split_last() else {
            panic!("an epoch without a tick");
        };
        let event = |message| match message {
            &Message::Event(ref event) => Some(event),
            Message::Tick(_) => None,
        };
        (events.iter().filter_map(event).collect(), tick)
    })
}

/// Feeds an epoch.
fn feed(handles: &Handles, input: Input, tick: &Tick) {
    let first = Window::Day.first_minute(tick.time.minute()).0 / 10;
    let Minute(now) = tick.time.minute();
    handles.recent.set_for_all((first, now / 10));
    let ops = input.ops.iter();
    let mut operations: Vec<_> = ops
        .map(|(key, change)| Tup2(Tup3(key.1, change.minute / 60, change.action), 1))
        .collect();
    handles.operations.append(&mut operations);
    let posts = input
        .ops
        .iter()
        .filter(|(key, change)| key.1 == POSTS && change.content.is_some());
    let mut seen: Vec<_> = posts.map(|(key, _)| Tup2(post_of(key), 1)).collect();
    handles.seen.append(&mut seen);
    let records = input
        .ops
        .into_iter()
        .map(|(key, change)| Tup2(live_key(&key), live(change)));
    handles.records.clone().append(&mut records.collect());
}

/// What an operation does to the map of live records.
fn live(change: Change) -> Update<LiveRecord, LiveRecord> {
    let none = Tup2(0, 0);
    let minute = change.minute;
    Update::Insert(match change.content {
        None => return Update::Delete,
        Some(Content::Post(post)) => {
            let [parent, quoted] = [post.parent, post.quoted].map(|it| it.map_or(none, subject));
            Tup5(minute, views::POST, parent, quoted, post.tags)
        }
        Some(Content::Like(post)) => Tup5(minute, views::LIKE, subject(post), none, vec![]),
        Some(Content::Repost(post)) => Tup5(minute, views::REPOST, subject(post), none, vec![]),
        Some(Content::Follow(did)) => {
            let subject = did.map_or(none, |did| Tup2(account(&did), 0));
            Tup5(minute, views::FOLLOW, subject, none, vec![])
        }
        Some(Content::Other) => Tup5(minute, views::OTHER, none, none, vec![]),
    })
}

/// The 15 bytes of a did:plc as a number. The benchmark has no other accounts.
fn account(did: &Did) -> Account {
    let mut bytes = [0; 16];
    bytes[1..].copy_from_slice(did.as_plc().expect("a did:plc"));
    u128::from_be_bytes(bytes)
}

/// The text of an account.
fn did(account: Account) -> Did {
    let [_, packed @ ..] = account.to_be_bytes();
    Did::from_plc(packed)
}

/// The record key `self` becomes 0. It is only used with profiles.
fn live_key(key: &RecordKey) -> LiveKey {
    let tid = key.2.as_tid().map_or(0, |tid| tid.0);
    Tup3(account(&key.0), key.1, tid)
}

fn post_of(key: &RecordKey) -> Post {
    let Tup3(account, _, tid) = live_key(key);
    Tup2(account, tid)
}

fn subject(subject: Subject) -> Post {
    let tid = |post: PostKey| post.rkey().as_tid().expect("a TID").0;
    Tup2(account(&subject.did), subject.post.map_or(0, tid))
}

/// A number of bytes in `/proc/self/status`.
fn status_bytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// CPU seconds of this process, with a resolution of 10 ms (utime and stime in proc(5)).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, tail)| tail);
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    ticks.map(|ticks| ticks.unwrap_or(0.0) / 100.0).sum()
}
