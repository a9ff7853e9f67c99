//! Exports of a store that another process has open, and of the same folder again.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use skytide_embedded::{DataDir, Part};

use crate::expected::compare;
use crate::process::{Place, recording};
use crate::replaying::{files, succeeds};
use crate::services::{NOWHERE, Running};

/// A place with a counted recording in `data`.
fn counted() -> Place {
    let place = Place::new();
    succeeds(&place.run(&["replay", &recording("pds.frames.zst"), "--data", "data"]));
    place
}

/// A service that has the store open, once it listens for exports: that is a moment after it prints
/// its address.
fn serve(place: &Place) -> Running {
    let (mut serving, _) = Running::start(place.command(&["serve", "--api-address=127.0.0.1:0"]));
    while UnixStream::connect(socket(place)).is_err() {
        assert_eq!(serving.0.try_wait().expect("it was started"), None);
        std::thread::yield_now();
    }
    serving
}

fn socket(place: &Place) -> std::path::PathBuf {
    place.path().join("data/export.sock")
}

/// A message as it is sent.
fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[kind], &length[..], payload].concat()
}

#[test]
fn another_format_replaces_the_export_of_a_folder() {
    let place = counted();
    let names = |place: &Place| -> Vec<String> {
        let files = files(place, "out").into_iter();
        files.map(|(name, _)| name).collect()
    };
    succeeds(&place.run(&["export", "out"]));
    std::fs::write(place.path().join("out/notes.csv"), "mine").expect("written");
    let ndjson = names(&place);
    succeeds(&place.run(&["export", "out", "--csv"]));
    let csv = names(&place);
    let replaced: Vec<String> = ndjson
        .iter()
        .map(|name| name.replace(".ndjson", ".csv"))
        .collect();
    assert_eq!(csv, replaced);
    assert!(csv.contains(&"notes.csv".to_owned()), "{csv:?}");
    succeeds(&place.run(&["export", "out"]));
    assert_eq!(names(&place), ndjson);
    compare(&place.path().join("out"), "active_accounts_only");
}

#[test]
fn what_the_holder_of_the_store_sends_is_what_an_export_without_it_writes() {
    let place = counted();
    succeeds(&place.run(&["export", "alone"]));
    succeeds(&place.run(&["export", "alone-csv", "--csv"]));
    let serving = serve(&place);
    std::thread::scope(|scope| {
        let exports = [
            ["export", "beside"].as_slice(),
            &["export", "beside-csv", "--csv"],
        ];
        for export in exports {
            let place = &place;
            scope.spawn(move || {
                let ran = place.run(export);
                succeeds(&ran);
                assert!(ran.err.contains("has the store open and sends"), "{ran:?}");
            });
        }
    });
    assert!(
        files(&place, "beside") == files(&place, "alone"),
        "the exports differ"
    );
    assert!(
        files(&place, "beside-csv") == files(&place, "alone-csv"),
        "the exports differ"
    );
    serving.signal("-TERM");
    assert_eq!(serving.end().0, Some(0));
    assert!(!socket(&place).exists());
}

#[test]
fn clients_that_go_away_or_send_nonsense_end_nothing() {
    let place = counted();
    let mut serving = serve(&place);
    let connect = || UnixStream::connect(socket(&place)).expect("it listens");

    let mut gone = connect();
    gone.write_all(&message(b'R', br#"{"version":1,"csv":false}"#))
        .expect("sent");
    gone.read_exact(&mut [0; 100]).expect("the first bytes");
    drop(gone);

    let nonsense: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &message(b'R', b"{}"),
        &message(b'Z', b""),
        &message(b'D', b"data"),
        &[b'R', 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in nonsense {
        let mut client = connect();
        client.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        // It is closed, with or without a reason.
        let _closed = client.read_to_end(&mut answer);
    }
    let mut newer = connect();
    newer
        .write_all(&message(b'R', br#"{"version":2,"csv":false}"#))
        .expect("sent");
    let mut answer = String::new();
    newer.read_to_string(&mut answer).expect("text");
    assert!(answer.contains("use the same skytide for both"), "{answer}");

    let idle: Vec<UnixStream> = (0..4).map(|_| connect()).collect();
    succeeds(&place.run(&["export", "out"]));
    compare(&place.path().join("out"), "active_accounts_only");
    drop(idle);
    assert_eq!(serving.0.try_wait().expect("it was started"), None);
    serving.signal("-TERM");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn an_export_whose_sender_ends_in_the_middle_is_not_whole() {
    let place = counted();
    succeeds(&place.run(&["export", "out"]));
    let dir = DataDir::open(&place.path().join("data"), None).expect("the folder");
    let _store = dir.hold(Part::Store).expect("nobody has it");
    let listener = UnixListener::bind(socket(&place)).expect("bound");
    let row = br#"{"key":"art","count":7}"#;
    let partial = [message(b'F', b"posts.ndjson"), message(b'D', row)].concat();
    let whole = [
        &partial[..],
        &message(b'F', b"summary.json"),
        &message(b'D', b"{}"),
    ]
    .concat();
    let elsewhere = [&partial[..], &message(b'F', b"../elsewhere.csv")].concat();
    let cases = [
        (partial.clone(), "is incomplete"),
        (whole, "is incomplete"),
        (elsewhere, "is incomplete"),
        (
            [&partial[..], &message(b'X', b"disk failed")].concat(),
            "because: disk failed",
        ),
    ];
    for (sent, reason) in cases {
        let sender = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let (mut client, _) = listener.accept().expect("a client");
                // A client whose request is not read learns that before it begins.
                let request = message(b'R', br#"{"version":1,"csv":false}"#);
                client
                    .read_exact(&mut vec![0; request.len()])
                    .expect("a request");
                client.write_all(&sent).expect("sent");
            });
            let ran = place.run(&["export", "out"]);
            sender.join().expect("sent");
            ran
        });
        assert_eq!(sender.code, Some(1), "{sender:?}");
        assert!(sender.err.contains(reason), "{reason}: {}", sender.err);
        let left = |name: &str| place.path().join("out").join(name).exists();
        assert!(!left("summary.json") && !left(".partial"), "{reason}");
        assert!(!place.path().join("elsewhere.csv").exists());
    }
}

#[test]
fn a_killed_process_leaves_a_socket_that_stands_in_nobodys_way() {
    let place = counted();
    let mut serving = serve(&place);
    serving.0.kill().expect("killed");
    serving.0.wait().expect("ended");
    assert!(socket(&place).exists(), "its socket stays");
    succeeds(&place.run(&["export", "alone"]));

    let serving = serve(&place);
    let ran = place.run(&["export", "beside"]);
    assert!(ran.err.contains("has the store open and sends"), "{ran:?}");
    succeeds(&ran);
    assert!(
        files(&place, "beside") == files(&place, "alone"),
        "the exports differ"
    );
    serving.signal("-TERM");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn a_data_folder_with_a_long_path_serves_exports() {
    let place = counted();
    let deep = Path::new("deep").join("d".repeat(200));
    std::fs::create_dir_all(place.path().join(&deep)).expect("made");
    let folder = deep.join("data");
    std::fs::rename(place.path().join("data"), place.path().join(&folder)).expect("moved");
    let folder = format!("--store-dir={}", place.path().join(folder).display());
    let serve = ["serve", "--api-address=127.0.0.1:0", &folder];
    let (serving, _) = Running::start(place.command(&serve));
    let ran = place.run(&["export", "out", &folder]);
    assert!(ran.err.contains("has the store open and sends"), "{ran:?}");
    succeeds(&ran);
    compare(&place.path().join("out"), "active_accounts_only");
    serving.signal("-TERM");
    assert_eq!(serving.end().0, Some(0));
}

#[test]
fn something_else_in_the_place_of_the_socket_ends_nothing() {
    let place = Place::new();
    let up = ["up", NOWHERE, "--api-address=127.0.0.1:0"];
    std::fs::create_dir(place.path().join("data")).expect("made");
    drop(DataDir::open(&place.path().join("data"), Some("127.0.0.1:9")).expect("made"));
    std::fs::write(socket(&place), "a diary").expect("written");
    let (mut up, _) = Running::start(place.command(&up));
    up.until_logged("cannot listen for `skytide export`");
    up.signal("-TERM");
    let (code, err) = up.end();
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        std::fs::read_to_string(socket(&place)).expect("it is there"),
        "a diary"
    );
}
