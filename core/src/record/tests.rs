use super::*;

#[test]
fn a_record_that_is_no_map_has_no_facts_and_a_broken_one_is_told_apart() {
    assert_eq!(parse("a.b.c", &[0xa0]), Ok(Record::Other));
    assert_eq!(parse("a.b.c", &[0x80]), Err(DropReason::RecordShape));
    assert_eq!(parse("a.b.c", &[0xa0, 0xa0]), Err(DropReason::RecordCbor));
    assert_eq!(parse("a.b.c", &[]), Err(DropReason::RecordCbor));
    assert_eq!(
        parse(Collection::POST, &[0x80]),
        Err(DropReason::RecordShape)
    );
}
