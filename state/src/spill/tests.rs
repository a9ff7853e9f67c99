use std::collections::BTreeMap;

use skytide_core::memory::MemoryScratch;

use super::*;
use crate::testing::random;

type Model = BTreeMap<Vec<u8>, u64>;

fn spill(scratch: &MemoryScratch) -> Spill {
    Spill::new(Arc::new(scratch.clone()), "test")
}

fn written(spill: &mut Spill, counts: &Model) -> Result<Option<Piece>, SpillError> {
    spill.write(|writer| {
        let mut counts = counts.iter();
        counts.try_for_each(|(key, count)| writer.push(key, &count.to_le_bytes()))
    })
}

fn count(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("8 bytes"))
}

fn sum(pieces: &[Piece], key: &[u8]) -> Result<u64, StateError> {
    let values = pieces.iter().map(|piece| piece.get(key));
    values
        .map(|value| Ok(value?.map_or(0, |it| count(&it))))
        .sum()
}

/// All sums, by a scan.
fn sums(pieces: &[Piece]) -> Result<Model, StateError> {
    let (mut found, mut scan) = (Model::new(), Pieces::open(pieces)?);
    while let Some(key) = scan.key().map(<[u8]>::to_vec) {
        let mut sum = 0;
        scan.visit(&key, |value| sum += count(value))?;
        assert!(found.insert(key, sum).is_none(), "a key twice");
    }
    Ok(found)
}

fn counts(next: &mut impl FnMut(usize) -> usize, keys: usize) -> Model {
    let key = |next: &mut dyn FnMut(usize) -> usize| {
        let author = (next(40) as u32).to_be_bytes();
        [author, (next(500) as u32).to_be_bytes()].concat()
    };
    (0..keys)
        .map(|_| (key(next), next(1_000) as u64 + 1))
        .collect()
}

#[test]
fn the_sums_over_all_pieces_equal_those_of_a_map() {
    for seed in 0..20 {
        let mut next = random(seed);
        let scratch = MemoryScratch::default();
        let mut spill = spill(&scratch);
        let (mut pieces, mut model) = (Vec::new(), Model::new());
        for _ in 0..next(8) {
            let keys = next(12_000);
            let added = counts(&mut next, keys);
            pieces.extend(written(&mut spill, &added).expect("memory never fails"));
            for (key, count) in added {
                *model.entry(key).or_default() += count;
            }
        }
        assert_eq!(sums(&pieces).expect("intact"), model, "seed {seed}");
        let entries: u64 = pieces.iter().map(Piece::entries).sum();
        assert!(entries as usize >= model.len(), "seed {seed}");
        for _ in 0..500 {
            let key = counts(&mut next, 1).into_keys().next().expect("a key");
            let expected = model.get(&key).copied().unwrap_or_default();
            let found = sum(&pieces, &key).expect("intact");
            assert_eq!(found, expected, "seed {seed} key {key:?}");
        }
        drop((pieces, spill));
        assert!(scratch.files().is_empty(), "seed {seed}");
    }
}

#[test]
fn a_flipped_bit_is_found_with_its_file_and_offset() {
    let seed = 7;
    let mut next = random(seed);
    let scratch = MemoryScratch::default();
    let mut spill = spill(&scratch);
    let first = counts(&mut next, 300);
    let second = counts(&mut next, 2_000);
    let start = written(&mut spill, &first).expect("memory never fails");
    let start = start.expect("entries").disk_bytes();
    let piece = written(&mut spill, &second).expect("memory never fails");
    let pieces = [piece.expect("entries")];
    let files = scratch.files();
    let (name, bytes) = files.iter().next().expect("one file");
    assert_eq!(files.len(), 1);
    assert_eq!(start + pieces[0].disk_bytes(), bytes.len() as u64);
    let (mut found, mut unread) = (0, 0);
    for at in (start as usize..bytes.len()).step_by(11) {
        let bit = at * 8 + next(8);
        scratch.flip_bit(name, bit);
        // The index and the filter were read when the piece was opened.
        match sums(&pieces) {
            Ok(sums) => {
                assert_eq!(sums, second, "seed {seed} byte {at}");
                unread += 1;
            }
            Err(StateError::Damaged { run, offset, .. }) => {
                assert_eq!(run, *name);
                assert!((start..=at as u64).contains(&offset), "{offset} for {at}");
                assert!(at as u64 - offset < 8 << 10, "{offset} for {at}");
                found += 1;
            }
            Err(error) => panic!("seed {seed} byte {at}: {error}"),
        }
        let reopened = Piece::open(pieces[0].file.clone(), start, pieces[0].bytes);
        let reread = reopened.and_then(|piece| sums(&[piece]));
        assert!(reread.is_err(), "seed {seed} byte {at}");
        scratch.flip_bit(name, bit);
    }
    assert!(found > unread && unread > 0, "{found} {unread}");
}

#[test]
fn a_full_disk_leaves_earlier_pieces_intact_and_later_ones_possible() {
    let seed = 3;
    let mut next = random(seed);
    let scratch = MemoryScratch::default();
    let mut spill = spill(&scratch);
    let (first, second) = (counts(&mut next, 3_000), counts(&mut next, 20_000));
    let piece = written(&mut spill, &first).expect("there is room");
    let mut pieces = vec![piece.expect("entries")];
    let used = pieces[0].disk_bytes() as usize;
    let mut failed = 0;
    for room in (0..1 << 20).step_by(10_000) {
        scratch.limit(Some(used + room));
        match written(&mut spill, &second) {
            Ok(piece) => {
                pieces.extend(piece);
                break;
            }
            Err(SpillError::Write(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                assert_eq!(sums(&pieces).expect("intact"), first, "room {room}");
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failed > 5, "{failed}");
    let mut model = first;
    for (key, count) in second {
        *model.entry(key).or_default() += count;
    }
    assert_eq!(sums(&pieces).expect("intact"), model);
}

#[test]
fn a_full_file_is_followed_by_another_and_removed_with_its_last_piece() {
    let scratch = MemoryScratch::default();
    let mut spill = spill(&scratch);
    let counts = Model::from([(vec![1], 1)]);
    let first = written(&mut spill, &counts).expect("memory never fails");
    let (_, end) = spill.current.as_mut().expect("a file");
    *end = FILE_BYTES;
    let second = written(&mut spill, &counts).expect("memory never fails");
    assert_eq!(scratch.files().len(), 2);
    drop(first);
    assert_eq!(scratch.files().len(), 1);
    let pieces: Vec<Piece> = second.into_iter().collect();
    assert_eq!(sums(&pieces).expect("intact"), counts);
}
