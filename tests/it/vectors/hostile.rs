//! Inputs that are designed to crash, exhaust or delay their reader.

use skytide_core::cbor::{Error, Loose, Reader, Strict};
use skytide_core::event::DropReason;
use skytide_core::id::Collection;
use skytide_core::record::{Record, parse};
use skytide_ingest::frame::{FRAME_BYTES_MAX, Verify, decode};

use super::bytes;

fn refusals(bytes: &[u8]) -> [Option<Error>; 2] {
    let strict = Reader::<Strict>::new(bytes).skip();
    let loose = Reader::<Loose>::new(bytes).skip();
    [strict.err(), loose.err()]
}

#[test]
fn ten_million_nested_lists_or_maps_exceed_the_depth_limit() {
    let lists = [vec![0x81; 10_000_000], vec![0x80]].concat();
    let maps = [[0xa1, 0x60].repeat(10_000_000), vec![0xa0]].concat();
    for nested in [lists, maps] {
        assert_eq!(refusals(&nested), [Some(Error::Depth); 2]);
        assert_eq!(
            parse(Collection::POST, &nested),
            Err(DropReason::RecordCbor)
        );
    }
}

#[test]
fn a_published_record_with_3000_nested_levels_is_rejected_alone() {
    let record = bytes("vectors/torture/semi_torture_nested_lists.dagcbor");
    assert_eq!(
        parse(Collection::POST, &record),
        Err(DropReason::RecordCbor)
    );
}

#[test]
fn a_list_of_100_000_links_is_read() {
    let links = bytes("vectors/torture/torture_cids.dagcbor.zst");
    let (mut reader, mut count) = (Reader::<Strict>::new(&links), 0);
    let read = reader.list(|reader| {
        count += usize::from(reader.link()?.is_some());
        Ok(())
    });
    assert_eq!((read, reader.end(), count), (Ok(Some(())), Ok(()), 100_000));
}

#[test]
fn an_enormous_length_and_unsorted_keys_are_rejected() {
    assert!(
        refusals(&bytes("vectors/torture/crash.cbor"))
            .iter()
            .all(Option::is_some)
    );
    let unsorted = bytes("vectors/torture/kietaub.cbor");
    assert_eq!(refusals(&unsorted)[0], Some(Error::Key));
}

#[test]
fn claimed_lengths_of_every_kind_are_bounded_by_the_input() {
    for major in [2, 3, 4, 5] {
        for width in [24, 25, 26, 27] {
            let claim = [
                vec![major << 5 | width],
                vec![0xff; 1 << (width - 24)],
                vec![0x60],
            ]
            .concat();
            let [strict, loose] = refusals(&claim);
            assert!(strict.is_some() && loose.is_some(), "{claim:x?}");
        }
    }
}

/// 1 MB of distinct hashtags in one list: quadratic work would take minutes.
#[test]
fn of_a_record_of_nothing_but_distinct_tags_the_first_8_count() {
    let count = 200_000_u32;
    let mut record = b"\xa1\x64tags\x9a".to_vec();
    record.extend(count.to_be_bytes());
    for i in 0..count {
        record.push(0x65);
        record.extend(format!("{i:05x}").as_bytes());
    }
    let Ok(Record::Post(post)) = parse(Collection::POST, &record) else {
        panic!("a valid record is rejected");
    };
    assert_eq!((post.tags.len(), post.left_out.too_many), (8, count - 8));
    assert!(
        post.tags.capacity() < 100,
        "what is left out takes no memory"
    );
}

/// Each map of the chain has unordered keys, so the loose rules must read each map again.
#[test]
fn nested_unordered_keys_do_not_multiply_the_work() {
    let mut nested = Vec::new();
    for _ in 0..31 {
        nested.extend(b"\xa2\x61b\x60\x61a");
    }
    nested.push(0x9a);
    nested.extend(1_000_000_u32.to_be_bytes());
    nested.extend(vec![0; 1_000_000]);
    assert_eq!(Reader::<Loose>::new(&nested).skip(), Ok(()));
}

#[test]
fn a_message_beyond_the_protocol_limit_is_rejected_unread() {
    let large = vec![0xff; FRAME_BYTES_MAX + 1];
    let reason = decode(&large, Verify::Records)
        .expect_err("too large")
        .reason;
    assert_eq!(reason, DropReason::FrameSize);
}

/// Tries every truncation and every changed byte of every rare message: nothing panics, at either
/// level.
#[test]
fn damaged_messages_never_panic() {
    for frame in super::frames("frames/edge.frames", u32::from_be_bytes) {
        let step = 1 + frame.len() / 500;
        for at in (0..frame.len()).step_by(step) {
            let mut broken = frame.clone();
            for byte in [0x00, 0x1b, 0x5f, 0x9b, 0xff, frame[at] ^ 1] {
                broken[at] = byte;
                let _ = decode(&broken, Verify::Records);
                let _ = decode(&broken, Verify::Blocks);
            }
            let _ = decode(&frame[..at], Verify::Blocks);
        }
    }
}
