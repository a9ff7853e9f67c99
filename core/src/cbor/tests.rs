use super::*;

fn strict(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<Strict>::new(bytes);
    reader.skip()?;
    reader.end()
}

fn loose(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<Loose>::new(bytes);
    reader.skip()?;
    reader.end()
}

#[test]
fn loose_rules_accept_input_that_strict_rules_reject() {
    let cases: [(&[u8], Error); 8] = [
        (&[0x18, 23], Error::Form),
        (&[0x59, 0, 1, 0xff], Error::Form),
        (&[0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0], Error::Integer),
        (&[0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0], Error::Integer),
        (&[0xf9, 0x3c, 0], Error::Simple),
        (&[0xf7], Error::Simple),
        (&[0xc1, 0], Error::Link),
        (&[0xa2, 0x62, b'o', b'p', 1, 0x61, b't', 0], Error::Key),
    ];
    for (bytes, error) in cases {
        assert_eq!(strict(bytes), Err(error), "{bytes:x?}");
        assert_eq!(loose(bytes), Ok(()), "{bytes:x?}");
    }
}

#[test]
fn both_rules_reject_malformed_input() {
    let cases: [(&[u8], Error); 11] = [
        (&[], Error::End),
        (&[0x61], Error::End),
        (&[0x5b, 0x10, 0, 0, 0, 0, 0, 0, 0], Error::End),
        (&[0x9b, 0xff, 0, 0, 0, 0, 0, 0, 0, 1], Error::End),
        (&[0x9f, 0xff], Error::Form),
        (&[0x1c], Error::Form),
        (&[0x61, 0xff], Error::Utf8),
        (&[0xa1, 0, 0], Error::Key),
        (&[0xa2, 0x61, b'a', 1, 0x61, b'a', 1], Error::Key),
        (&[0xa3, 0x60, 0, 0x61, b'a', 1, 0x60, 1], Error::Key),
        (&[0, 0], Error::Trailing),
    ];
    for (bytes, error) in cases {
        assert_eq!(strict(bytes), Err(error), "{bytes:x?}");
        assert_eq!(loose(bytes), Err(error), "{bytes:x?}");
    }
}

#[test]
fn signed_64_bit_integers_are_read_over_their_whole_range() {
    for value in [
        0,
        23,
        24,
        -1,
        -24,
        -25,
        255,
        256,
        1 << 53,
        i64::MAX,
        i64::MIN,
    ] {
        let (major, size) = if value < 0 { (1, !value) } else { (0, value) };
        let mut bytes = Vec::new();
        match size {
            0..24 => bytes.push(major << 5 | size as u8),
            24..0x100 => bytes.extend([major << 5 | 24, size as u8]),
            0x100 => bytes.extend([major << 5 | 25, 1, 0]),
            _ => {
                bytes.push(major << 5 | 27);
                bytes.extend(size.to_be_bytes());
            }
        }
        let read = Reader::<Strict>::new(&bytes).integer();
        assert_eq!(read, Ok(Some(value)), "{bytes:x?}");
    }
}

#[test]
fn an_item_of_another_type_is_checked_and_skipped() {
    let mut reader = Reader::<Strict>::new(&[0x82, 1, 0x61, b'a', 0xf5, 0x61, 0xff]);
    assert_eq!(reader.text(), Ok(None));
    assert_eq!(reader.integer(), Ok(None));
    assert_eq!(reader.integer(), Err(Error::Utf8));
}

#[test]
fn nesting_beyond_the_limit_is_rejected() {
    let nested = |depth| [vec![0x81; depth - 1], vec![0x80]].concat();
    assert_eq!(strict(&nested(DEPTH_MAX as usize)), Ok(()));
    assert_eq!(strict(&nested(DEPTH_MAX as usize + 1)), Err(Error::Depth));
    assert_eq!(loose(&vec![0xc1; 1_000_000]), Err(Error::Depth));
}
