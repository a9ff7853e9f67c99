//! The entries of a run: accounts and their records, in the order of their keys.
//!
//! ```text
//! account   did │ 0                    ─▶ flags, last seen, revision, identity, status (each with its origin), activity rows
//! record    did │ collection │ rkey    ─▶ kind, minute it was first seen, content
//! ```
//!
//! A post that is gone has an entry without content, because its key is still counted. Any other
//! record that was removed has no value. An account is always followed by its records, as the keys
//! of both begin with its DID. Collections of Bluesky are one byte in a key.

use std::sync::Arc;

use skytide_core::id::{Did, Rkey, Tid};
use skytide_state::{Merge, Run, RunWriter, StateError};

use super::bytes::{Reader, Unreadable, Writer};
use crate::saved_shard::SavedShard;

/// Follows the DID in the key of an account.
const ACCOUNT: u8 = 0;
/// A name that has no number, as text.
const TEXT: u8 = 0xff;
/// Names of activity rows and of collections by their number, which starts at 1. Part of the stored
/// format: names are only appended.
const NAMES: &[&str] = &[
    "",
    "other",
    "#account",
    "#identity",
    "#sync",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.graph.follow",
    "app.bsky.feed.repost",
    "app.bsky.graph.block",
    "app.bsky.actor.profile",
    "app.bsky.feed.threadgate",
    "app.bsky.graph.listitem",
    "app.bsky.graph.list",
    "app.bsky.feed.generator",
    "app.bsky.graph.starterpack",
    "app.bsky.feed.postgate",
    "app.bsky.graph.listblock",
    "chat.bsky.actor.declaration",
    "app.bsky.actor.status",
];

/// The bits of the first byte of a record's value that say that the record is a post that is gone.
pub(super) const GONE: u8 = 0b111;

/// Writes the name of a collection or of an activity row.
pub(super) fn write_name(name: &str, to: &mut Writer) {
    match NAMES.iter().position(|it| *it == name) {
        Some(index) => to.byte(index as u8 + 1),
        None => {
            to.byte(TEXT);
            to.text(name);
        }
    }
}

/// Reads the name of a collection or of an activity row.
pub(super) fn read_name<'a>(from: &mut Reader<'a>) -> Result<&'a str, Unreadable> {
    match from.byte()? {
        TEXT => from.text(),
        number => {
            let index = usize::from(number).checked_sub(1).ok_or(Unreadable)?;
            NAMES.get(index).copied().ok_or(Unreadable)
        }
    }
}

/// Writes the part of a record's key after the DID.
fn write_record_key(collection: &str, rkey: &Rkey, to: &mut Writer) {
    write_name(collection, to);
    match rkey.as_tid() {
        Some(tid) => {
            to.byte(0);
            // Big-endian, so that keys ascend with time.
            to.0.extend_from_slice(&tid.0.to_be_bytes());
        }
        None => {
            to.byte(1);
            rkey.with_str(|text| to.text(text));
        }
    }
}

/// Reads the part of a record's key after the DID.
fn read_record_key<'a>(from: &mut Reader<'a>) -> Result<(&'a str, Rkey), Unreadable> {
    let collection = read_name(from)?;
    let rkey = match from.byte()? {
        0 => {
            let bytes = from.bytes(8)?.try_into().map_err(|_| Unreadable)?;
            Tid(u64::from_be_bytes(bytes)).into()
        }
        _ => from.text()?.parse().map_err(|_| Unreadable)?,
    };
    Ok((collection, rkey))
}

/// The key of a record.
pub(super) fn record_key(did: &Did, collection: &str, rkey: &Rkey) -> Vec<u8> {
    let mut key = Writer::default();
    key.did(did);
    write_record_key(collection, rkey, &mut key);
    key.0
}

/// Visits the live records of an account in these runs, newest first: each with the rest of its
/// value.
pub(super) fn visit_records(
    runs: &[Arc<Run>],
    did: &Did,
    mut visit: impl FnMut(&str, Rkey, &mut Reader<'_>) -> Result<(), Unreadable>,
) -> Result<Result<(), Unreadable>, StateError> {
    let mut prefix = Writer::default();
    prefix.did(did);
    let mut merge = Merge::open(runs, &prefix.0)?;
    while let Some((key, value)) = merge.next_entry()? {
        let Some(rest) = key.strip_prefix(&prefix.0[..]) else {
            break;
        };
        let value = value.filter(|value| *value != [GONE] && rest != [ACCOUNT]);
        let Some(value) = value else { continue };
        let visited = read_record_key(&mut Reader(rest))
            .and_then(|(collection, rkey)| visit(collection, rkey, &mut Reader(value)));
        if visited.is_err() {
            return Ok(visited);
        }
    }
    Ok(Ok(()))
}

/// Changed entries in no order, as a worker sends them to the task that writes checkpoints.
#[derive(Debug, Default)]
pub(super) struct Changes {
    bytes: Writer,
    key: Writer,
    did_bytes: usize,
    /// The value of the entry that is being written.
    pub value: Writer,
}

impl Changes {
    /// Begins the account that the following entries belong to.
    pub fn account(&mut self, did: &Did) {
        self.key.0.clear();
        self.key.did(did);
        self.did_bytes = self.key.0.len();
    }

    /// Ends the entry of the account itself, whose value was written.
    pub fn end_account(&mut self) {
        self.key.0.truncate(self.did_bytes);
        self.key.byte(ACCOUNT);
        self.end(true);
    }

    /// Ends the entry of a record. `has_value`: it has the value that was written.
    pub fn end_record(&mut self, collection: &str, rkey: &Rkey, has_value: bool) {
        self.key.0.truncate(self.did_bytes);
        write_record_key(collection, rkey, &mut self.key);
        self.end(has_value);
    }

    fn end(&mut self, has_value: bool) {
        let Self {
            bytes, key, value, ..
        } = self;
        bytes.count(key.0.len());
        bytes.0.extend_from_slice(&key.0);
        bytes.count(if has_value { value.0.len() + 1 } else { 0 });
        if has_value {
            bytes.0.extend_from_slice(&value.0);
        }
        value.0.clear();
    }

    /// All entries.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.0
    }
}

/// Makes a run of the changes of all workers. Returns its bytes; `None` if nothing changed.
///
/// # Panics
/// If two entries have the same key: each account belongs to one worker.
pub(crate) fn build_run(name: &str, changes: &[Vec<u8>]) -> Option<Vec<u8>> {
    const WHOLE: &str = "a worker of the same version writes whole entries";
    let mut entries = Vec::new();
    for changes in changes {
        let mut from = Reader(changes);
        while !from.0.is_empty() {
            let length = from.count().expect(WHOLE);
            let key = from.bytes(length).expect(WHOLE);
            let value = match from.number().expect(WHOLE) as usize {
                0 => None,
                length => Some(from.bytes(length - 1).expect(WHOLE)),
            };
            entries.push((key, value));
        }
    }
    entries.sort_unstable_by_key(|(key, _)| *key);
    let mut run = RunWriter::new(name);
    for (key, value) in entries {
        run.push(key, value);
    }
    run.finish()
}

/// An entry of a table of runs.
pub(super) enum Entry<'a> {
    /// An account: the value follows.
    Account,
    /// A live record.
    Record { collection: &'a str, rkey: Rkey },
    /// A post that is gone.
    GonePost { rkey: Rkey },
}

impl SavedShard {
    /// Visits all accounts and their records: each with its DID and the rest of its value. An
    /// account comes before its records.
    pub(super) fn visit(
        &self,
        mut visit: impl FnMut(&Did, Entry<'_>, &mut Reader<'_>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let runs = self.runs.iter().map(|(name, bytes)| {
            let run = Run::open(name, bytes.clone());
            run.map(Arc::new).map_err(|_| Unreadable)
        });
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge::open(&runs, b"").map_err(|_| Unreadable)?;
        let mut account: Option<(Vec<u8>, Did)> = None;
        while let Some((key, value)) = merge.next_entry().map_err(|_| Unreadable)? {
            let Some(value) = value else { continue };
            let mut value = Reader(value);
            let known = account
                .as_ref()
                .filter(|(prefix, _)| key.starts_with(prefix));
            let Some((prefix, did)) = known else {
                let mut from = Reader(key);
                let did = from.did()?;
                if from.byte()? != ACCOUNT || !from.0.is_empty() {
                    return Err(Unreadable);
                }
                visit(&did, Entry::Account, &mut value)?;
                account = Some((key[..key.len() - 1].to_vec(), did));
                continue;
            };
            let mut from = Reader(&key[prefix.len()..]);
            let (collection, rkey) = read_record_key(&mut from)?;
            let entry = match value.0 {
                [GONE] => Entry::GonePost { rkey },
                _ => Entry::Record { collection, rkey },
            };
            visit(did, entry, &mut value)?;
        }
        Ok(())
    }
}
