//! Vectors of CBOR codecs. What the strict rules accept must be encoded to the same bytes again;
//! what they reject must give the expected error.

use serde_json::Value as Json;
use skytide_core::cbor::{Error, Loose, Reader, Strict};
use skytide_core::id::Cid;

use super::value::{decode, encode, from_json, to_json};
use super::{base64, bytes, cid_of, fixture, hex, json, list, text};

/// The result of the strict rules. Accepted bytes must be the only encoding of their value.
fn strict(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<Strict>::new(bytes);
    let verdict = reader.skip().and_then(|()| reader.end());
    let read = decode(bytes);
    assert_eq!(
        read.as_ref().err(),
        verdict.as_ref().err(),
        "reading and skipping differ"
    );
    if let Ok(value) = read {
        assert_eq!(encode(&value), bytes, "not the only encoding of {value:?}");
    }
    verdict
}

fn loose(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::<Loose>::new(bytes);
    reader.skip()?;
    reader.end()
}

/// Whether a case is valid, canonical CBOR outside of the protocol's data model. Its first byte
/// decides.
fn is_foreign(case: &Json) -> bool {
    let code = hex(case["hex"].as_str().expect("hex"));
    let tag_or_simple = code[0] >= 0xc0 && !(0xf4..=0xf6).contains(&code[0]);
    let beyond_64_bits_signed = [0x1b, 0x3b].contains(&code[0]) && code[1] >= 0x80;
    let number_as_key = code[0] == 0xa2 && code[1] < 0x60;
    tag_or_simple || beyond_64_bits_signed || number_as_key
}

#[test]
fn the_rfc_vectors_are_accepted_if_canonical_and_part_of_the_data_model() {
    let vectors = json("vectors/cbor-rfc8949/rfc8949-vectors.json");
    let (mut accepted, mut refused) = (0, 0);
    for case in list(&vectors) {
        let code = hex(case["hex"].as_str().expect("hex"));
        let flag = |flag: &str| list(&case["flags"]).contains(&flag.into());
        if flag("invalid") {
            assert!(strict(&code).is_err() && loose(&code).is_err(), "{case}");
        } else if flag("canonical") && !is_foreign(case) {
            assert_eq!(strict(&code), Ok(()), "{case}");
            accepted += 1;
        } else {
            assert!(strict(&code).is_err(), "{case}");
            refused += 1;
        }
    }
    assert_eq!((accepted, refused), (35, 50));
}

#[test]
fn fuzzer_seeds_are_accepted_in_their_only_form_or_rejected() {
    let seeds = text("vectors/cbor-seeds/cbor_seeds.hex.txt");
    let accepted = seeds
        .lines()
        .filter(|line| strict(&hex(line)).is_ok())
        .count();
    assert!(
        (10..seeds.lines().count()).contains(&accepted),
        "{accepted} accepted"
    );
}

/// Whether a value in DAG-JSON (<https://ipld.io/specs/codecs/dag-json/spec/>) is part of the
/// protocol's data model.
fn is_in_data_model(json: &Json) -> bool {
    match json {
        Json::Number(number) => number.is_i64(),
        Json::Array(items) => items.iter().all(is_in_data_model),
        Json::Object(entries) => match entries.get("/") {
            Some(Json::String(cid)) => cid.parse::<Cid>().is_ok(),
            Some(_) => true,
            None => entries.values().all(is_in_data_model),
        },
        _ => true,
    }
}

#[test]
fn ipld_values_are_accepted_if_they_are_part_of_the_data_model() {
    let (mut accepted, mut refused) = (0, 0);
    let folders = std::fs::read_dir(fixture("vectors/codec-fixtures/fixtures")).expect("folder");
    for folder in folders {
        let files = std::fs::read_dir(folder.expect("entry").path()).expect("folder");
        let (mut block, mut ours) = (Vec::new(), None);
        for file in files {
            let path = file.expect("entry").path();
            let read = std::fs::read(&path).expect("a file");
            if path
                .extension()
                .is_some_and(|extension| extension == "dag-cbor")
            {
                let name = path.file_stem().expect("a name").to_string_lossy();
                assert_eq!(cid_of(&read).to_string(), name, "named by its CID");
                block = read;
            } else {
                ours = Some(is_in_data_model(
                    &serde_json::from_slice(&read).expect("JSON"),
                ));
            }
        }
        assert_eq!(
            strict(&block).is_ok(),
            ours.expect("a DAG-JSON file"),
            "{block:x?}"
        );
        *(if ours == Some(true) {
            &mut accepted
        } else {
            &mut refused
        }) += 1;
    }
    assert_eq!(accepted + refused, 128);
    assert!(
        accepted > 60 && refused > 20,
        "{accepted} accepted, {refused} rejected"
    );
}

#[test]
fn a_repeated_key_is_rejected_in_blocks_and_in_the_envelope() {
    let folder = "vectors/codec-fixtures/negative-fixtures/dag-cbor/decode";
    for case in list(&json(&format!("{folder}/duplicate-keys.json"))) {
        let code = hex(case["hex"].as_str().expect("hex"));
        assert_eq!(
            (strict(&code), loose(&code)),
            (Err(Error::Key), Err(Error::Key))
        );
    }
}

#[test]
fn dasl_cases_pass_except_where_the_protocol_is_narrower() {
    let mut cases = 0;
    for file in std::fs::read_dir(fixture("vectors/dasl")).expect("folder") {
        let path = file.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file: Json =
            serde_json::from_slice(&std::fs::read(&path).expect("file")).expect("JSON");
        let meant = ["basic", "dag-cbor", "dasl-cid"].map(Json::from);
        for case in list(&file) {
            if !list(&case["tags"]).iter().any(|tag| meant.contains(tag)) {
                continue;
            }
            cases += 1;
            let code = hex(case["data"].as_str().expect("hex"));
            // The protocol has no floats, no integers beyond signed 64 bits, and no hash except
            // SHA-256.
            let narrower = [
                "fb",
                "1bffffffffffffffff",
                "3bffffffffffffffff",
                "d82a58250001551e",
            ];
            let refused = narrower.iter().any(|head| code.starts_with(&hex(head)));
            let accepted = case["type"] == "roundtrip" && !refused;
            assert_eq!(strict(&code).is_ok(), accepted, "{case}");
        }
    }
    assert_eq!(cases, 92);
}

#[test]
fn values_have_the_bytes_and_cids_of_the_interop_tests() {
    for case in list(&json(
        "vectors/atproto-interop/data-model/data-model-fixtures.json",
    )) {
        let block = base64(case["cbor_base64"].as_str().expect("base64"));
        let value = from_json(&case["json"]).expect("a value of the data model");
        assert_eq!(encode(&value), block);
        assert_eq!(
            cid_of(&block).to_string(),
            case["cid"].as_str().expect("a CID")
        );
        assert_eq!(to_json(&decode(&block).expect("a block")), case["json"]);
        assert_eq!(strict(&block), Ok(()));
    }
}

#[test]
fn other_values_than_those_of_the_data_model_cannot_be_written_or_have_no_facts() {
    for case in list(&json(
        "vectors/atproto-interop/data-model/data-model-valid.json",
    )) {
        // JSON does not distinguish integers: 123.0 is 123 in the data model.
        if case["note"] != "float, but integer-like" {
            let value = from_json(&case["json"]).expect("a value of the data model");
            assert_eq!(strict(&encode(&value)), Ok(()), "{case}");
        }
    }
    // Lexicons, not the data model, make these invalid: such fields count as absent, see `facts`.
    let lexicon = ["record with", "blob with"];
    for case in list(&json(
        "vectors/atproto-interop/data-model/data-model-invalid.json",
    )) {
        let note = case["note"].as_str().expect("a note");
        if lexicon.iter().any(|head| note.starts_with(head)) || note.starts_with("bytes with wrong")
        {
            continue;
        }
        let refused = from_json(&case["json"]).is_none_or(|value| {
            skytide_core::record::parse("com.example.record", &encode(&value)).is_err()
        });
        assert!(refused, "{case}");
    }
}

#[test]
fn records_of_the_early_network_are_read_completely() {
    for (name, length) in [("feedpost_record", 474), ("post_richtext_link", 705)] {
        let record = bytes(&format!("vectors/records/{name}.cbor"));
        assert_eq!((record.len(), strict(&record)), (length, Ok(())));
    }
}
