use super::*;

#[test]
fn a_record_that_is_not_a_map_and_malformed_cbor_have_different_reasons() {
    assert_eq!(parse("a.b.c", &[0xa0]), Ok(Record::Other));
    assert_eq!(parse("a.b.c", &[0x80]), Err(DropReason::RecordShape));
    assert_eq!(parse("a.b.c", &[0xa0, 0xa0]), Err(DropReason::RecordCbor));
    assert_eq!(parse("a.b.c", &[]), Err(DropReason::RecordCbor));
    assert_eq!(
        parse(Collection::POST, &[0x80]),
        Err(DropReason::RecordShape)
    );
}
