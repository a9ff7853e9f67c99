//! `replay` and `export`, on the recorded network.

use std::fs;

use crate::expected::compare;
use crate::process::{Place, Ran, recording};

/// The recording without compression.
pub fn plain() -> Vec<u8> {
    let packed = fs::read(recording("pds.frames.zst")).expect("the recording");
    zstd::decode_all(packed.as_slice()).expect("zstd")
}

/// The offset of each frame of an uncompressed recording.
fn beginnings(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut beginnings = Vec::new();
    while let Some(length) = bytes.get(at..at + 4) {
        beginnings.push(at);
        let length = u32::from_be_bytes(length.try_into().expect("4 bytes"));
        at += 4 + length as usize;
    }
    beginnings
}

#[track_caller]
pub fn succeeds(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// All files of an export with their content.
pub fn files(place: &Place, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place.path().join(folder)).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_recorded_network_gives_the_numbers_of_other_implementations() {
    let recording = recording("pds.frames.zst");
    for policy in [
        "active_accounts_only",
        "deleted_accounts_removed",
        "ops_only",
    ] {
        for workers in ["1", "2", "4"] {
            let place = Place::new();
            let args = ["replay", &recording, "--export", "out"];
            let variables = [
                ("INDEXER_ACCOUNT_POLICY", policy),
                ("INDEXER_WORKERS", workers),
            ];
            succeeds(&place.run_with(&args, variables));
            compare(&place.path().join("out"), policy);
        }
    }
}

#[test]
fn several_files_of_either_byte_order_are_one_stream() {
    let place = Place::new();
    let bytes = plain();
    let whole = place.write("whole.frames", &bytes);
    let starts = beginnings(&bytes);
    let (a, b) = (starts[5_000], starts[9_000]);
    place.write("a.frames", &bytes[..a]);
    let packed = zstd::encode_all(&bytes[a..b], 3).expect("zstd");
    place.write("b.frames.zst", packed);
    let mut little = bytes[b..].to_vec();
    for start in starts[9_000..].iter().map(|start| start - b) {
        little[start..start + 4].reverse();
    }
    place.write("c.frames", little);

    let parts = ["a.frames", "b.frames.zst", "c.frames"];
    succeeds(&place.run(&[&["replay"], &parts[..], &["--export", "parts"]].concat()));
    let whole = whole.to_str().expect("a path");
    succeeds(&place.run(&["replay", whole, "--export", "whole"]));
    assert!(
        files(&place, "parts") == files(&place, "whole"),
        "the exports differ"
    );
    compare(&place.path().join("parts"), "active_accounts_only");
}

#[test]
fn a_truncated_file_is_counted_up_to_the_cut_and_the_error_names_the_offset() {
    let place = Place::new();
    let bytes = plain();
    let starts = beginnings(&bytes);
    place.write("cut.frames", &bytes[..starts[3_000] + 100]);
    place.write("good.frames", &bytes[..starts[3_000]]);
    let cut = place.run(&["replay", "cut.frames", "--export", "cut"]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    let place_of_cut = format!("at byte {}", starts[3_000]);
    assert!(
        cut.err.contains(&place_of_cut),
        "{place_of_cut}: {}",
        cut.err
    );
    succeeds(&place.run(&["replay", "good.frames", "--export", "good"]));
    assert!(
        files(&place, "cut") == files(&place, "good"),
        "the exports differ"
    );
}

#[test]
fn a_file_that_is_not_a_recording_is_refused() {
    let place = Place::new();
    place.write("notes.txt", "these are not the frames you are looking for");
    for name in ["notes.txt", "nowhere.frames"] {
        let ran = place.run(&["replay", name]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(name), "{}", ran.err);
    }
}

#[test]
fn a_data_folder_resumes_its_own_recording_and_refuses_another() {
    let place = Place::new();
    let bytes = plain();
    place.write("half.frames", &bytes[..beginnings(&bytes)[7_000]]);
    place.write("whole.frames", &bytes);
    succeeds(&place.run(&["replay", "half.frames", "--data", "kept"]));
    let args = [
        "replay",
        "whole.frames",
        "--data",
        "kept",
        "--export",
        "out",
    ];
    for _again in 0..2 {
        succeeds(&place.run(&args));
        compare(&place.path().join("out"), "active_accounts_only");
    }
    let other = place.run(&["replay", &recording("edge.frames"), "--data", "kept"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.err.contains("holds the data of"), "{}", other.err);
}

#[test]
fn export_writes_what_replay_exports_and_csv_has_a_line_per_row() {
    let place = Place::new();
    let recording = recording("pds.frames.zst");
    succeeds(&place.run(&["replay", &recording, "--data", "data", "--export", "first"]));
    succeeds(&place.run(&["export", "second"]));
    assert!(
        files(&place, "first") == files(&place, "second"),
        "the exports differ"
    );

    succeeds(&place.run(&["export", "flat", "--csv"]));
    let lines = |path: &str| {
        let text = fs::read_to_string(place.path().join(path)).expect(path);
        text.lines().count()
    };
    for view in ["posts", "hashtags", "interactions", "actors", "activity"] {
        let (json, csv) = (format!("first/{view}.ndjson"), format!("flat/{view}.csv"));
        assert_eq!(lines(&json) + 1, lines(&csv), "{view}");
    }
}

/// A recording of `#identity` frames without a time.
fn without_times(frames: u8) -> Vec<u8> {
    let mut recording = Vec::new();
    for seq in 1..=frames {
        // {"op": 1, "t": "#identity"}, {"did": "did:plc:...", "seq": n}
        let mut frame = b"\xa2bop\x01ati#identity\xa2cdidx\x20did:plc:".to_vec();
        frame.extend([b'a' + seq; 24]);
        frame.extend([b"cseq".as_slice(), &[seq]].concat());
        recording.extend(u32::try_from(frame.len()).expect("short").to_be_bytes());
        recording.extend(frame);
    }
    recording
}

#[test]
fn a_recording_without_readable_times_is_reported_as_such() {
    for (frames, reported) in [
        (0, "\nno frames, in"),
        (3, "\n3 frames, none with a readable time"),
    ] {
        let place = Place::new();
        place.write("untimed.frames", without_times(frames));
        let ran = place.run(&["replay", "untimed.frames", "--export", "out"]);
        succeeds(&ran);
        assert!(ran.out.contains(reported), "{ran:?}");
        assert!(!ran.out.contains("1970"), "{ran:?}");
        let summary = place.path().join("out/summary.json");
        let summary = fs::read_to_string(summary).expect("a summary");
        assert!(summary.contains("\"since\": null"), "{summary}");
    }
}
