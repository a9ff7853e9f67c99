use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use skytide_core::memory::MemoryScratch;

use super::*;
use crate::operators::count::Carries;
use crate::views::interactions::counts::{CountKey, InteractionCounts, Kind};
use crate::views::interactions::day::{DayPart, PARTS};

type Rows = Vec<(Row, Time, i32)>;

/// Random interactions of few accounts on a few days; a third of them are retracted.
struct Random {
    next: Box<dyn FnMut(u64) -> u64>,
    inserted: Vec<(InteractionKey, Interaction)>,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self {
            next: Box::new(crate::testing::random(seed)),
            inserted: Vec::new(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next)(limit)
    }

    fn interaction(&mut self) -> (InteractionKey, Interaction) {
        if self.below(3) == 0 && !self.inserted.is_empty() {
            let at = self.below(self.inserted.len() as u64) as usize;
            let (key, inserted) = self.inserted.swap_remove(at);
            return (
                key,
                Interaction {
                    diff: -1,
                    ..inserted
                },
            );
        }
        let kinds = [Kind::Like, Kind::Repost, Kind::Reply, Kind::Quote];
        let interaction = Interaction {
            kind: kinds[self.below(4) as usize],
            characters: self.below(300) as u32,
            diff: 1,
        };
        let (author, subject) = (self.below(30), 30 + self.below(30));
        let key = key(author, self.below(3) as u32, subject);
        self.inserted.push((key.clone(), interaction));
        (key, interaction)
    }
}

fn key(author: u64, day: u32, subject: u64) -> InteractionKey {
    let did = |number: u64| {
        let did = format!("did:web:{number}.example").parse::<Did>();
        did.expect("it is a DID")
    };
    InteractionKey {
        author: did(author),
        day,
        subject: did(subject),
    }
}

const LIKE: Interaction = Interaction {
    kind: Kind::Like,
    characters: 0,
    diff: 1,
};

fn on_disk(scratch: &MemoryScratch, hot_pairs_max: Option<usize>) -> Days {
    Days::new(Some(Scratch {
        files: Arc::new(scratch.clone()),
        hot_pairs_max,
    }))
}

/// The size by visiting all entries, buffers and pieces.
fn recount(days: &Days) -> DaySize {
    let mut size = DaySize::default();
    for day in days.days.values() {
        size.hot.bytes += PARTS * size_of::<DayPart>();
        for part in &day.parts {
            size.hot.entries += part.counts.iter().count() + part.buffered.iter().count();
            size.hot.bytes += part.counts.size().bytes + part.buffered.size().bytes;
            size.hot.bytes += part.carries.size().bytes;
            size.disk.add(part.spilled.size());
        }
    }
    size
}

/// All rows, from the retractions of all days.
fn rows(mut days: Days) -> Rows {
    let mut rows = Vec::new();
    days.expire(u32::MAX, 1, &mut rows);
    rows.sort();
    rows
}

/// Buffering interactions and adding them at once give the same counts, whatever is looked up
/// in between.
#[test]
fn buffered_interactions_are_added_before_a_pair_is_looked_up() {
    let seed = 0x5eed_u64;
    let mut random = Random::new(seed);
    let (mut buffered, mut added) = (Days::default(), Days::default());
    for step in 0..20_000 {
        let (key, interaction) = random.interaction();
        added.add(&key, interaction);
        let expected = added.row_or_remove(&key);
        if step % 100 == 0 {
            assert_eq!(buffered.size(), recount(&buffered), "seed {seed:#x}");
            assert_eq!(added.size(), recount(&added), "seed {seed:#x}");
        }
        if random.below(50) > 0 {
            buffered.buffer(&[(key, interaction)], 0);
        } else {
            buffered.add(&key, interaction);
            let row = buffered.row_or_remove(&key);
            assert_eq!(row, expected, "seed {seed:#x} step {step}");
        }
    }
    let rows = (rows(buffered), rows(added));
    assert!(!rows.0.is_empty());
    assert_eq!(rows.0, rows.1, "seed {seed:#x}");
}

#[test]
fn counts_are_the_same_wherever_their_pairs_are() {
    for seed in 0..12_u64 {
        let hot_pairs_max = [Some(0), Some(64), None][seed as usize % 3];
        let (mut random, scratch) = (Random::new(seed), MemoryScratch::default());
        let (mut days, mut expected) = (on_disk(&scratch, hot_pairs_max), Days::default());
        let mut spilled = 0;
        for step in 0..6_000 {
            let (key, interaction) = random.interaction();
            expected.add(&key, interaction);
            let row = expected.row_or_remove(&key);
            match random.below(3) {
                0 => days.buffer(&[(key, interaction)], 0),
                _ => {
                    days.row(&key);
                    days.add(&key, interaction);
                    assert_eq!(days.row_or_remove(&key), row, "seed {seed} step {step}");
                }
            }
            // The disk is full for some time.
            if step % 1_000 == 0 {
                scratch.limit((step % 2_000 == 0).then_some(4_000));
            }
            if step % 40 == 0 {
                days.limit_pairs();
                if hot_pairs_max.is_none() && random.below(4) == 0 {
                    let wanted = random.below(20_000) as usize;
                    days.spill(0, |moved| moved.bytes >= wanted);
                }
                let size = days.size();
                assert_eq!(size, recount(&days), "seed {seed} step {step}");
                let max = hot_pairs_max.unwrap_or(usize::MAX);
                let is_within = size.hot.entries <= max || days.disk.fails;
                assert!(is_within, "seed {seed} step {step}: {size:?}");
                spilled += usize::from(size.disk.entries > 200);
            }
        }
        assert!(spilled > 20, "seed {seed}: {spilled}");
        let found = rows(days);
        assert!(found.len() > 500, "seed {seed}");
        assert_eq!(found, rows(expected), "seed {seed}");
        assert!(scratch.files().is_empty(), "seed {seed}");
    }
}

#[test]
fn the_oldest_day_is_evicted_first_and_about_the_memory_that_is_wanted() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, None);
    for (day, author, subject) in (5..8)
        .flat_map(|day| (0..3_000_u64).map(move |author| (day, author, author % 7)))
        .flat_map(|(day, author, n)| (0..40).map(move |it| (day, author, 5_000 + n * 40 + it)))
    {
        days.add(&key(author, day, subject), LIKE);
    }
    let total = days.size();
    let per_day = total.hot.bytes as u64 / 3;
    assert!(per_day > 5 << 20, "{per_day}");
    let mut released = days.evict(300_000);
    assert!((300_000..700_000).contains(&released), "{released}");
    // A call that wants more than its limit needs more calls, so that none takes long.
    let large = days.evict(u64::MAX);
    assert!((4 << 20..5 << 20).contains(&large), "{large}");
    released += large;
    let hot = |days: &mut Days, day: u32| {
        let day = days.days.get_mut(&day).expect("the day has pairs");
        day.size().hot.entries
    };
    assert!(hot(&mut days, 5) < 120_000);
    assert_eq!([hot(&mut days, 6), hot(&mut days, 7)], [120_000, 120_000]);
    let bytes = |size: DaySize| (size.hot.bytes + size.disk.bytes) as u64;
    assert_eq!(bytes(total) - bytes(days.size()), released);

    while days.evict(u64::MAX) > 0 {}
    let size = days.size();
    assert_eq!(size.hot.entries, 0, "{size:?}");
    assert_eq!(size.disk.entries, 360_000);
    // At least 95 % of the memory of the pairs is released.
    assert!(bytes(size) * 20 < bytes(total), "{size:?} of {total:?}");
    let disk: usize = scratch.files().values().map(Vec::len).sum();
    assert!(disk < 360_000 * 16, "{disk} bytes on disk");
}

#[test]
fn days_without_a_scratch_folder_are_not_evicted() {
    let mut days = Days::default();
    for author in 0..20_000 {
        days.add(&key(author, 1, 0), LIKE);
    }
    assert_eq!(days.evict(u64::MAX), 0);
    assert_eq!(days.size().hot.entries, 20_000);
}

#[test]
fn a_pair_in_many_pieces_is_read_from_few() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, Some(0));
    let mut pieces_max = 0;
    for round in 1..=300_u32 {
        for subject in 0..50 {
            days.add(&key(1, 1, 1_000 + subject), LIKE);
        }
        days.add(&key(1, 1, 2_000 + u64::from(round)), LIKE);
        days.limit_pairs();
        let entries = days.size().disk.entries;
        let pairs = 50 + round as usize;
        pieces_max = pieces_max.max(entries.div_ceil(pairs));
        let row = days.row(&key(1, 1, 1_007)).expect("a row");
        assert_eq!(row.likes, round);
    }
    assert!((2..=4).contains(&pieces_max), "{pieces_max}");
}

#[test]
fn a_pair_whose_interactions_are_all_retracted_has_no_row_and_leaves_the_disk() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, Some(0));
    let key = key(1, 1, 2);
    days.add(&key, LIKE);
    days.limit_pairs();
    assert_eq!(days.size().disk.entries, 1);
    assert_eq!(days.row(&key).map(|row| row.likes), Some(1));
    days.add(&key, Interaction { diff: -1, ..LIKE });
    assert_eq!(days.row_or_remove(&key), None);
    days.limit_pairs();
    assert_eq!(days.row_or_remove(&key), None);
    assert!(days.days.is_empty(), "the day has no pair");
    assert!(rows(days).is_empty());
}

#[test]
fn a_count_beyond_32_bits_keeps_its_value_on_disk() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, Some(0));
    let key = key(1, 1, 2);
    days.add(&key, LIKE);
    let part = days.days.get_mut(&1).expect("the day").part((0, 1));
    let large = |carries: &mut Carries<CountKey>, counts: &mut InteractionCounts| {
        for _ in 0..2 * 65_540 {
            let diff = i16::MAX;
            counts.add(Interaction { diff, ..LIKE }, (0, 1), carries);
        }
    };
    large(&mut part.carries, &mut part.counts[0]);
    assert!(part.carries.size().entries > 0);
    days.limit_pairs();
    assert_eq!(days.size().hot.entries, 0);
    assert_eq!(days.row(&key).map(|row| row.likes), Some(u32::MAX));
    let removed = i64::from(i16::MAX) * 2 * 65_540 - 1;
    for _ in 0..removed / i64::from(i16::MAX) {
        let diff = -i16::MAX;
        days.add(&key, Interaction { diff, ..LIKE });
    }
    let row = days.row_or_remove(&key).expect("a row");
    assert_eq!(i64::from(row.likes), i64::from(i16::MAX) + 1);
}

/// The message of the panic that an expiry of all days raises; `None` if it succeeds.
fn failure(days: &Days) -> Option<String> {
    let read = || {
        for part in days.days.values().flat_map(|day| &day.parts) {
            let hot = std::iter::empty();
            part.spilled.visit(hot, |_pair, _totals| {});
        }
    };
    let panic = catch_unwind(AssertUnwindSafe(read)).err()?;
    Some(*panic.downcast::<String>().expect("a formatted message"))
}

#[test]
fn damage_on_the_disk_stops_the_process_and_names_the_file() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, Some(0));
    for subject in 0..3_000 {
        days.add(&key(1, 9, 5_000 + subject), LIKE);
    }
    days.limit_pairs();
    assert_eq!(failure(&days), None);
    let files = scratch.files();
    let (name, bytes) = files.iter().next().expect("a file");
    scratch.flip_bit(name, 8 * (bytes.len() / 3));
    let message = failure(&days).expect("the damage is found");
    let expected = format!("cannot read interactions that were moved to disk: {name} is damaged");
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.contains(" at byte "), "{message}");
}

#[test]
fn the_cache_of_read_pairs_is_bounded_and_counted() {
    let scratch = MemoryScratch::default();
    let mut days = on_disk(&scratch, Some(0));
    let pairs = 2 * READ_PAIRS_MAX as u64;
    for subject in 0..pairs {
        days.add(&key(1, 9, 5_000 + subject), LIKE);
    }
    days.limit_pairs();
    for subject in 0..pairs {
        days.row(&key(1, 9, 5_000 + subject)).expect("a row");
        assert!(days.disk.read.len() <= READ_PAIRS_MAX);
    }
    let cached = days.disk.read.allocation_size();
    assert!(cached < READ_PAIRS_MAX * 128, "{cached}");
    days.add(&key(1, 9, 5_000), LIKE);
    days.limit_pairs();
    assert!(
        days.disk.read.is_empty(),
        "its counts are not those on disk"
    );
}
