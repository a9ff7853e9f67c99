//! Vectors of CBOR codecs: what the strict rules take, they give back byte for byte; what they
//! refuse, and why.

use serde_json::Value as Json;
use skytide_core::cbor::{Error, Loose, Reader, Strict};
use skytide_core::id::Cid;

use super::value::{decode, encode, from_json, to_json};
use super::{base64, bytes, cid_of, fixture, hex, json, list, text};

/// The verdict of the strict rules; what they take must have been the only encoding of its value.
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

/// Valid and canonical CBOR that is not of the protocol's data model: by its first byte.
fn is_foreign(case: &Json) -> bool {
    let code = hex(case["hex"].as_str().expect("hex"));
    let tag_or_simple = code[0] >= 0xc0 && !(0xf4..=0xf6).contains(&code[0]);
    let beyond_64_bits_signed = [0x1b, 0x3b].contains(&code[0]) && code[1] >= 0x80;
    let number_as_key = code[0] == 0xa2 && code[1] < 0x60;
    tag_or_simple || beyond_64_bits_signed || number_as_key
}

#[test]
fn the_rfcs_vectors_are_taken_where_they_are_of_the_data_model_and_in_their_only_form() {
    let vectors = json("vectors/cbor-rfc8949/rfc8949-vectors.json");
    let (mut taken, mut refused) = (0, 0);
    for case in list(&vectors) {
        let code = hex(case["hex"].as_str().expect("hex"));
        let flag = |flag: &str| list(&case["flags"]).contains(&flag.into());
        if flag("invalid") {
            assert!(strict(&code).is_err() && loose(&code).is_err(), "{case}");
        } else if flag("canonical") && !is_foreign(case) {
            assert_eq!(strict(&code), Ok(()), "{case}");
            taken += 1;
        } else {
            assert!(strict(&code).is_err(), "{case}");
            refused += 1;
        }
    }
    assert_eq!((taken, refused), (35, 50));
}

#[test]
fn seeds_of_a_fuzzer_are_taken_in_their_only_form_or_refused() {
    let seeds = text("vectors/cbor-seeds/cbor_seeds.hex.txt");
    let taken = seeds
        .lines()
        .filter(|line| strict(&hex(line)).is_ok())
        .count();
    assert!(
        (10..seeds.lines().count()).contains(&taken),
        "{taken} taken"
    );
}

/// Whether a value in DAG-JSON (<https://ipld.io/specs/codecs/dag-json/spec/>) is of the protocol's
/// data model.
fn is_ours(json: &Json) -> bool {
    match json {
        Json::Number(number) => number.is_i64(),
        Json::Array(items) => items.iter().all(is_ours),
        Json::Object(entries) => match entries.get("/") {
            Some(Json::String(cid)) => cid.parse::<Cid>().is_ok(),
            Some(_) => true,
            None => entries.values().all(is_ours),
        },
        _ => true,
    }
}

#[test]
fn ipld_values_are_taken_if_they_are_of_the_data_model() {
    let (mut taken, mut refused) = (0, 0);
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
                ours = Some(is_ours(&serde_json::from_slice(&read).expect("JSON")));
            }
        }
        assert_eq!(
            strict(&block).is_ok(),
            ours.expect("a DAG-JSON file"),
            "{block:x?}"
        );
        *(if ours == Some(true) {
            &mut taken
        } else {
            &mut refused
        }) += 1;
    }
    assert_eq!(taken + refused, 128);
    assert!(
        taken > 60 && refused > 20,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn a_key_given_twice_is_refused_in_blocks_and_in_the_envelope() {
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
fn dasl_cases_are_met_but_for_what_the_protocol_narrows_further() {
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
            // No floats, no integers beyond 64 bits signed, no hash but SHA-256.
            let narrower = [
                "fb",
                "1bffffffffffffffff",
                "3bffffffffffffffff",
                "d82a58250001551e",
            ];
            let refused = narrower.iter().any(|head| code.starts_with(&hex(head)));
            let taken = case["type"] == "roundtrip" && !refused;
            assert_eq!(strict(&code).is_ok(), taken, "{case}");
        }
    }
    assert_eq!(cases, 92);
}

#[test]
fn the_data_models_values_have_the_bytes_and_cids_of_the_interop_tests() {
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
fn values_of_the_data_model_are_taken_and_others_cannot_be_written_or_have_no_facts() {
    for case in list(&json(
        "vectors/atproto-interop/data-model/data-model-valid.json",
    )) {
        // JSON knows no integers: 123.0 is 123 to the data model.
        if case["note"] != "float, but integer-like" {
            let value = from_json(&case["json"]).expect("a value of the data model");
            assert_eq!(strict(&encode(&value)), Ok(()), "{case}");
        }
    }
    // What is wrong with these is said by lexicons: such fields count as absent, see `facts`.
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
fn records_of_the_early_network_are_read_to_their_last_byte() {
    for (name, length) in [("feedpost_record", 474), ("post_richtext_link", 705)] {
        let record = bytes(&format!("vectors/records/{name}.cbor"));
        assert_eq!((record.len(), strict(&record)), (length, Ok(())));
    }
}
