//! Chooses a random sample of keys: those of random live records, and of the stored rows that
//! follow them.
//!
//! The rows of the records must exist, so a missing row is found. A row that should not exist is
//! found if it follows a chosen key in the order of the store. Random records lead to a row in
//! proportion to the number of its records, so wrong counts of much used keys are found first.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use skytide_core::id::Did;
use skytide_core::port::store::{Order, Range, ViewReader};
use skytide_core::view::{Key, ListKey, ListRow, ViewId, decode_row};

use super::AuditError;
use super::pace::Pace;
use super::replay::Replay;
use crate::recount::{Options, RowCount, Rows, Selection};

/// The maximum number of records of one account that keys are derived from.
const RECORDS_MAX: usize = 50;
/// The number of shards whose accounts are chosen from, unless they have too few.
const SHARDS: usize = 4;

/// A sample of keys.
pub(super) struct Sample {
    /// The keys and the items of lists.
    pub selection: Selection,
    /// The keys of rows that are not lists.
    pub keys: BTreeMap<ViewId, BTreeSet<Key>>,
    /// The stored rows of these keys, and all stored lists.
    pub stored: Rows,
}

/// Chooses about `rows` keys, and as many that follow them in the store.
pub(super) async fn choose(
    replay: &mut Replay<'_>,
    reader: &dyn ViewReader,
    options: Options,
    rows: usize,
    seed: u64,
) -> Result<Sample, AuditError> {
    let mut random = Random(seed);
    let mut derived = derived_keys(replay, options, rows, &mut random).await?;
    let recipe = replay.committed().recipe.as_ref();
    derived.retain(|view, _| recipe.is_none_or(|recipe| recipe.views.contains_key(view)));
    let mut sample = Sample {
        selection: Selection::All,
        keys: BTreeMap::new(),
        stored: Rows::new(),
    };
    let mut hashes = HashSet::new();
    for (view, chosen) in spread(derived, rows, &mut random) {
        let (keys, stored) = with_following(reader, view, chosen, replay.pace()).await?;
        for key in &keys {
            // A stored key that is not one of this view is compared without being counted.
            hashes.extend(Selection::hash_of_row(view, key).ok());
            hashes.extend(Selection::hashes_as_item(view, key));
        }
        sample.keys.insert(view, keys);
        sample.stored.insert(view, stored);
    }
    for &view in ViewId::ALL.iter().filter(|view| view.is_list()) {
        let lists = all_rows(reader, view, replay.pace()).await?;
        for (key, row) in &lists {
            let (Ok(key), Ok(row)) = (key.decode::<ListKey>(), decode_row::<ListRow>(row)) else {
                continue;
            };
            let items = row.entries.iter();
            hashes.extend(items.filter_map(|entry| Selection::hash_of_item(view, &key, entry)));
        }
        sample.stored.insert(view, lists);
    }
    sample.selection = Selection::Keys(hashes);
    Ok(sample)
}

/// The keys of all rows to which random accounts and records contribute.
async fn derived_keys(
    replay: &mut Replay<'_>,
    options: Options,
    rows: usize,
    random: &mut Random,
) -> Result<BTreeMap<ViewId, Vec<Key>>, AuditError> {
    let mut derived: BTreeMap<ViewId, BTreeSet<Key>> = BTreeMap::new();
    let mut shards: Vec<u16> = replay.group().collect();
    random.shuffle(&mut shards);
    let now = replay.now();
    for (index, shard) in shards.into_iter().enumerate() {
        let count: usize = derived.values().map(BTreeSet::len).sum();
        if index >= SHARDS && count >= 2 * rows {
            break;
        }
        let history = replay.peek(shard).await?;
        let mut accounts = history.account_sizes();
        random.shuffle(&mut accounts);
        let mut records = 0;
        let mut kept: BTreeSet<Did> = BTreeSet::new();
        for (did, size) in accounts {
            if records >= rows / SHARDS && kept.len() >= rows / 16 {
                break;
            }
            records += size.min(RECORDS_MAX);
            kept.insert(did);
        }
        history.keep_accounts(&kept, RECORDS_MAX);
        let all = Selection::All;
        let mut count = RowCount::new(options, now, &all);
        count.add(history);
        for (view, rows) in count.rows(history) {
            derived.entry(view).or_default().extend(rows.into_keys());
        }
        history.clear_accounts();
        replay.pace().pause().await?;
    }
    let derived = derived.into_iter();
    Ok(derived
        .map(|(view, keys)| (view, keys.into_iter().collect()))
        .collect())
}

/// Chooses `rows` keys in total, and of each view about equally many.
fn spread(
    derived: BTreeMap<ViewId, Vec<Key>>,
    rows: usize,
    random: &mut Random,
) -> Vec<(ViewId, Vec<Key>)> {
    let mut views: Vec<_> = derived
        .into_iter()
        .filter(|(view, _)| !view.is_list())
        .collect();
    views.sort_by_key(|(_, keys)| keys.len());
    let (mut left, mut views_left) = (rows, views.len());
    for (_, keys) in &mut views {
        random.shuffle(keys);
        keys.truncate(left.div_ceil(views_left));
        left -= keys.len().min(left);
        views_left -= 1;
    }
    views
}

/// Reads the rows of keys and the row after each of them. Returns all these keys, and the rows that
/// exist.
async fn with_following(
    reader: &dyn ViewReader,
    view: ViewId,
    chosen: Vec<Key>,
    pace: &Pace,
) -> Result<(BTreeSet<Key>, BTreeMap<Key, Box<[u8]>>), AuditError> {
    let mut keys: BTreeSet<Key> = chosen.iter().cloned().collect();
    let mut stored = BTreeMap::new();
    for from in chosen.into_iter().chain([Key::default()]) {
        let range = Range {
            order: Order::First,
            from,
            to: None,
            limit: 2,
        };
        for row in reader.scan(view, range).await? {
            keys.insert(row.key.clone());
            stored.insert(row.key, row.row);
        }
        pace.pause().await?;
    }
    Ok((keys, stored))
}

/// The number of rows that are read at once.
const PAGE_ROWS: usize = 1_000;

/// All rows of a view.
async fn all_rows(
    reader: &dyn ViewReader,
    view: ViewId,
    pace: &Pace,
) -> Result<BTreeMap<Key, Box<[u8]>>, AuditError> {
    let mut rows = BTreeMap::new();
    let mut from = Key::default();
    loop {
        let range = Range {
            order: Order::First,
            from,
            to: None,
            limit: PAGE_ROWS,
        };
        let page = reader.scan(view, range).await?;
        pace.pause().await?;
        let last = page.last().map(|row| row.key.clone());
        let is_full = page.len() == PAGE_ROWS;
        rows.extend(page.into_iter().map(|row| (row.key, row.row)));
        match last {
            Some(last) if is_full => from = after(&last),
            _ => return Ok(rows),
        }
    }
}

/// The first key after this one.
pub(super) fn after(key: &Key) -> Key {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    Key::from(bytes.as_slice())
}

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            let other = self.next() % (index as u64 + 1);
            items.swap(index, other as usize);
        }
    }
}
