//! CAR files, valid and damaged.

use skytide_core::id::Cid;
use skytide_ingest::car::{Block, Car, CarError};

use super::value::{encode, from_json};
use super::{base64, bytes, cid_of, json, list};

fn blocks(car: &[u8]) -> Result<Vec<Block<'_>>, CarError> {
    Car::open(car)?.collect()
}

#[test]
fn files_of_the_reference_implementation_give_their_blocks_in_order() {
    for case in list(&json("vectors/atproto-car/car-file-fixtures.json")) {
        let car = base64(case["car"].as_str().expect("base64"));
        let root = Car::open(&car).expect("a CAR").root().expect("a root");
        assert_eq!(root.to_string(), case["root"].as_str().expect("a CID"));
        let read = blocks(&car).expect("a whole CAR");
        assert_eq!(read.len(), list(&case["blocks"]).len());
        for (block, theirs) in read.iter().zip(list(&case["blocks"])) {
            assert_eq!(
                block.data,
                base64(theirs["bytes"].as_str().expect("base64"))
            );
            let cid = Cid::from_bytes(block.cid).expect("a CID of the protocol");
            assert_eq!(cid.to_string(), theirs["cid"].as_str().expect("a CID"));
            assert_eq!(cid, cid_of(block.data));
        }
    }
}

#[test]
fn blocks_of_other_networks_have_the_offsets_of_their_listing() {
    let car = bytes("vectors/car-generic/carv1-basic.car");
    let listing = json("vectors/car-generic/carv1-basic.json");
    let places = blocks(&car).expect("a whole CAR");
    assert_eq!(places.len(), list(&listing["blocks"]).len());
    for (block, theirs) in places.iter().zip(list(&listing["blocks"])) {
        let offset = block.data.as_ptr() as usize - car.as_ptr() as usize;
        assert_eq!(theirs["blockOffset"], offset);
        assert_eq!(theirs["blockLength"], block.data.len());
    }
    let sample = bytes("vectors/car-generic/sample-v1.car.zst");
    assert!(blocks(&sample).expect("a whole CAR").len() > 1_000);
}

#[test]
fn damaged_files_and_other_versions_give_distinct_errors() {
    let cases = [
        (
            "sample-v1-tailing-corrupt-section.car.zst",
            CarError::Length,
        ),
        ("sample-v1-with-zero-len-section.car.zst", CarError::Length),
        ("sample-v1-with-zero-len-section2.car.zst", CarError::Length),
        ("carv2-basic.car", CarError::Version),
        ("sample-corrupt-pragma.car", CarError::Length),
        ("sample-rootless-v42.car", CarError::Version),
    ];
    for (name, error) in cases {
        let car = bytes(&format!("vectors/car-generic/{name}"));
        assert_eq!(blocks(&car).err(), Some(error), "{name}");
    }
}

#[test]
fn repositories_are_read_if_their_root_is_not_first_or_links_lead_outside() {
    for (name, count) in [("greenground.repo.car", 4), ("repo_slice.car", 5)] {
        let car = bytes(&format!("vectors/cars/{name}"));
        let read = blocks(&car).expect("a whole CAR");
        let root = Car::open(&car)
            .expect("a CAR")
            .root()
            .expect("a root")
            .to_bytes();
        assert!(
            read.iter().any(|block| block.cid == root),
            "{name} contains its root"
        );
        for block in &read {
            assert_eq!(block.cid, cid_of(block.data).to_bytes(), "{name}");
        }
        assert_eq!(read.len(), count, "{name}");
    }
    let car = bytes("vectors/cars/repo_slice.car");
    let listed = json("vectors/cars/repo_slice_record.json");
    let record = encode(&from_json(&listed["value"]).expect("a record"));
    assert_eq!(listed["cid"], cid_of(&record).to_string());
    assert!(
        blocks(&car)
            .expect("a CAR")
            .iter()
            .any(|block| block.data == record)
    );
}
