//! `replay` of what is no file: pipes, FIFOs, standard input.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::expected::compare;
use crate::process::{Place, Ran, recording};
use crate::replaying::{files, plain, succeeds};

/// Runs it with these bytes on standard input, the first ones alone.
fn piped(place: &Place, args: &[&str], bytes: &[u8]) -> Ran {
    let mut child = place
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (first, rest) = bytes.split_at(bytes.len().min(7));
            for byte in first {
                // It may have ended without reading.
                let _closed = input.write_all(&[*byte]).and_then(|()| input.flush());
            }
            let _closed = input.write_all(rest);
        });
        Ran::from(child.wait_with_output().expect("it ends"))
    })
}

fn fifo(place: &Place, name: &str) {
    let made = Command::new("mkfifo").arg(place.path().join(name)).status();
    assert!(made.expect("mkfifo runs").success());
}

#[test]
fn standard_input_is_a_recording_like_a_file() {
    let place = Place::new();
    let packed = fs::read(recording("pds.frames.zst")).expect("the recording");
    succeeds(&place.run(&["replay", &recording("pds.frames.zst"), "--export", "file"]));
    for (name, bytes) in [("-", &packed), ("/dev/stdin", &packed), ("-", &plain())] {
        let args = ["replay", name, "--export", "out"];
        succeeds(&piped(&place, &args, bytes));
        compare(&place.path().join("out"), "active_accounts_only");
        assert!(
            files(&place, "out") == files(&place, "file"),
            "the exports differ"
        );
    }
    let redirected = place
        .command(&["replay", "-", "--export", "out"])
        .stdin(File::open(recording("pds.frames.zst")).expect("the recording"))
        .output();
    succeeds(&Ran::from(redirected.expect("it runs")));
    compare(&place.path().join("out"), "active_accounts_only");
}

#[test]
fn fifos_and_files_are_one_stream() {
    let place = Place::new();
    let bytes = plain();
    let mut cuts = vec![0];
    let mut at = 0;
    while let Some(length) = bytes.get(at..at + 4) {
        at += 4 + u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        cuts.push(at);
    }
    // The name of the stream is in its first 16 frames: two files have part of them.
    let (a, b) = (cuts[5], cuts[9_000]);
    fifo(&place, "a.fifo");
    place.write("b.frames", &bytes[a..b]);
    fifo(&place, "c.fifo");
    let packed = zstd::encode_all(&bytes[b..], 3).expect("zstd");
    let write = |name: &'static str, bytes: &[u8]| {
        let mut file = File::options()
            .write(true)
            .open(place.path().join(name))
            .expect(name);
        file.write_all(bytes).expect("read");
    };
    let args = ["replay", "a.fifo", "b.frames", "c.fifo", "--export", "out"];
    std::thread::scope(|scope| {
        scope.spawn(|| write("a.fifo", &bytes[..a]));
        scope.spawn(|| write("c.fifo", &packed));
        succeeds(&place.run(&args));
    });
    compare(&place.path().join("out"), "active_accounts_only");
}

#[test]
fn a_pipe_goes_on_with_the_data_of_the_same_recording() {
    let place = Place::new();
    let bytes = plain();
    let half = bytes.len() / 2;
    let cut = piped(&place, &["replay", "-", "--data", "data"], &bytes[..half]);
    assert_eq!(cut.code, Some(1), "{cut:?}");
    assert!(
        cut.err.contains("standard input is cut short"),
        "{}",
        cut.err
    );
    let args = ["replay", "-", "--data", "data", "--export", "out"];
    succeeds(&piped(&place, &args, &bytes));
    compare(&place.path().join("out"), "active_accounts_only");
    // The file is the same recording.
    place.write("whole.frames", &bytes);
    succeeds(&place.run(&[
        "replay",
        "whole.frames",
        "--data",
        "data",
        "--export",
        "again",
    ]));
    compare(&place.path().join("again"), "active_accounts_only");
    let shorter = piped(&place, &["replay", "-", "--data", "data"], &bytes[..half]);
    assert_eq!(shorter.code, Some(1), "{shorter:?}");
}

#[test]
fn what_cannot_be_read_or_recorded_is_refused_with_the_reason() {
    let place = Place::new();
    let refused = |args: &[&str], bytes: &[u8], why: &str| {
        let ran = piped(&place, args, bytes);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        assert!(ran.err.contains(why), "{why}: {}", ran.err);
    };
    refused(
        &["replay", "-", "-"],
        b"",
        "standard input can be read only once",
    );
    refused(
        &["replay", "-", "/dev/stdin"],
        b"",
        "standard input can be read only once",
    );
    refused(
        &["replay", "-"],
        b"these are no frames at all",
        "standard input is not a recording",
    );
    refused(&["replay", "-"], b"", "standard input holds no frame");
    let relay = "--firehose-url=ws://127.0.0.1:9";
    refused(
        &["record", "-", "--frames=1", relay],
        b"",
        "- is not a regular file",
    );
    refused(
        &["simnet", "record", "-", "--frames=1"],
        b"",
        "- is not a file name",
    );
    assert!(!place.path().join("-").exists());
    fifo(&place, "a.fifo");
    refused(
        &["record", "a.fifo", "--frames=1", relay],
        b"",
        "a.fifo is not a regular file",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_fifo_without_a_writer_is_reported_and_ends_with_a_signal() {
    use std::io::{BufRead, BufReader};

    let place = Place::new();
    fifo(&place, "a.fifo");
    let mut child = place
        .command(&["replay", "a.fifo"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = lines.next().expect("a line").expect("text");
    assert_eq!(line, "waiting for the first frames of the recording");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(Path::new(&place.path().join("a.fifo")).exists());
}
