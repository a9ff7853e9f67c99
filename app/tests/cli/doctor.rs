//! `skytide doctor` on healthy and faulty folders and servers, and its bundles.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use mongodb::bson::doc;
use serde_json::Value;
use skytide_core::config::secrets;
use skytide_tests::relay::RelayServer;
use skytide_tests::servers::{Mongo, Nats};
use tokio::runtime::Runtime;

use crate::process::{Place, Ran};
use crate::services::{NOWHERE, Running};

/// The maximum size of a bundle: 5 MB.
const BUNDLE_BYTES_MAX: u64 = 5_000_000;

/// Options with which doctor finds no problem: a relay that answers, and a free port.
fn healthy(relay: &RelayServer) -> Vec<String> {
    let url = format!("--firehose-url={}", relay.url());
    vec![url, "--api-address=127.0.0.1:0".to_owned()]
}

fn doctor(place: &Place, options: &[String], more: &[&str]) -> Ran {
    let mut args = vec!["doctor", "--json"];
    args.extend(options.iter().map(String::as_str));
    args.extend(more);
    place.run(&args)
}

/// Level and text of each finding of a check.
fn findings(ran: &Ran, check: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let all = report["findings"].as_array().expect("findings");
    let of_check = all.iter().filter(|it| it["check"] == check);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    of_check
        .map(|it| (text(&it["level"]), text(&it["found"])))
        .collect()
}

#[track_caller]
fn assert_found(ran: &Ran, check: &str, level: &str, text: &str) {
    let found = findings(ran, check);
    let is_it =
        |(its_level, its_text): &(String, String)| its_level == level && its_text.contains(text);
    assert!(
        found.iter().any(is_it),
        "{check} {level} {text:?} is not in {found:?}"
    );
    let code = i32::from(ran.out.contains("\"level\": \"problem\""));
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

/// The files of an archive.
fn unpacked(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(File::open(path).expect("a file")));
    let entries = archive.entries().expect("an archive");
    let read = entries.map(|entry| {
        let mut entry = entry.expect("a file");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        (path, content)
    });
    read.collect()
}

#[test]
fn a_healthy_folder_has_no_problem_and_the_json_has_its_schema() {
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let ran = doctor(&place, &healthy(&relay), &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    for name in ["version", "service", "checked", "level"] {
        assert!(report[name].is_string(), "{name}: {report}");
    }
    for finding in report["findings"].as_array().expect("findings") {
        let fields: BTreeSet<&str> = finding
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(fields, BTreeSet::from(["check", "level", "found", "fix"]));
        assert_eq!(
            finding["level"] == "ok",
            finding["fix"].is_null(),
            "{finding}"
        );
    }
    for check in [
        "options", "folder", "disk", "memory", "cpu", "files", "port", "relay", "clock",
    ] {
        assert!(!findings(&ran, check).is_empty(), "{check}: {report}");
    }
    assert!(
        !place.path().join("data").exists(),
        "doctor creates no folder"
    );
    let text = place.run(&["doctor", NOWHERE, "--api-address=127.0.0.1:0"]);
    assert_eq!(text.code, Some(1), "{text:?}");
    let line = text
        .out
        .lines()
        .find(|line| line.starts_with("problem  relay "));
    assert!(
        line.is_some_and(|line| line.contains(" -> ")),
        "{}",
        text.out
    );
}

#[test]
fn faults_of_folder_port_and_options_are_found() {
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let options = healthy(&relay);
    let ran = doctor(&place, &options, &["--store-dir=/proc/skytide"]);
    assert_found(&ran, "folder", "problem", "cannot write to /proc");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("--api-address={}", taken.local_addr().expect("an address"));
    let ran = doctor(&place, &[options[0].clone()], &[&address, "--timeout=5s"]);
    assert_found(&ran, "port", "problem", "another program listens");

    let ran = doctor(
        &place,
        &options,
        &["--nats-replicas=3", "--indexer-workers=200"],
    );
    assert_found(&ran, "options", "warning", "NATS_REPLICAS have no effect");
    assert_found(&ran, "cpu", "warning", "INDEXER_WORKERS is 200");
    let ran = doctor(&place, &options, &["--scheduler-time-zone=Mars"]);
    assert_found(
        &ran,
        "options",
        "problem",
        "SCHEDULER_TIME_ZONE is not valid",
    );

    fs::create_dir(place.path().join("data")).expect("a folder");
    let key = place.write("data/keys.json", "{}");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("set");
    let ran = doctor(&place, &options, &[]);
    assert_found(&ran, "keys", "problem", "mode 644");
}

#[test]
fn a_low_limit_of_open_files_is_found() {
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let args = [
        &["doctor".to_owned(), "--json".to_owned()][..],
        &healthy(&relay),
    ]
    .concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let doctor = place.command(&args);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 600 && exec \"$0\" \"$@\""])
        .arg(doctor.get_program())
        .args(doctor.get_args());
    let output = limited.current_dir(place.path()).output().expect("sh runs");
    assert_found(
        &Ran::from(output),
        "files",
        "warning",
        "enough for 88 connections",
    );
}

/// A relay that answers one request with a WebSocket and this date.
fn relay_of_the_past(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let refused = format!("HTTP/1.1 503 Busy\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
        // The key of the example in RFC 6455 would need SHA-1: the relay refuses instead.
        assert!(request.contains("upgrade: websocket"));
        let _sent = stream.write_all(refused.as_bytes());
    });
    format!("ws://{address}")
}

#[test]
fn a_relay_that_refuses_and_a_wrong_clock_are_found() {
    let place = Place::new();
    let url = relay_of_the_past("Thu, 01 Jan 2015 00:00:00 GMT");
    let options = [
        format!("--firehose-url={url}"),
        "--api-address=127.0.0.1:0".to_owned(),
    ];
    let ran = doctor(&place, &options, &[]);
    assert_found(&ran, "relay", "problem", "503");
    assert_found(&ran, "clock", "problem", "ahead of 127.0.0.1");
}

#[test]
fn limits_of_a_nats_stream_are_compared_with_the_options() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let url = format!("--nats-url={}", nats.url());
    let options = healthy(&relay);
    let ran = doctor(&place, &options, &[&url]);
    assert_found(&ran, "nats", "ok", "does not exist yet");
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let config = async_nats_config();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(nats.url()).await.expect("a server");
        let made = async_nats::jetstream::new(client)
            .create_stream(config)
            .await;
        made.expect("a stream");
    });
    let more = [&url as &str, "--nats-bytes-max=2GiB"];
    let ran = doctor(&place, &options, &more);
    assert_found(&ran, "nats", "problem", "it is not a log of Skytide");
    assert_found(&ran, "nats", "problem", "deletes messages after 60 s");
    assert_found(&ran, "nats", "problem", "discard: old");
    assert_found(&ran, "nats", "warning", "NATS_BYTES_MAX");
    assert_found(&ran, "clock", "ok", "NATS");
}

/// A stream of the log's name that loses messages.
fn async_nats_config() -> async_nats::jetstream::stream::Config {
    async_nats::jetstream::stream::Config {
        name: "skytide".to_owned(),
        subjects: vec!["firehose.>".to_owned()],
        max_age: std::time::Duration::from_secs(60),
        max_bytes: 1 << 20,
        ..Default::default()
    }
}

#[test]
fn a_nats_server_without_jetstream_and_none_at_all_are_found() {
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let ran = doctor(&place, &healthy(&relay), &["--nats-url=nats://127.0.0.1:9"]);
    assert_found(&ran, "nats", "problem", "connect to NATS");
}

#[test]
fn a_mongodb_user_who_may_only_read_is_found() {
    let Some(mongo) = Mongo::with_failpoints() else {
        return;
    };
    let place = Place::new();
    let relay = RelayServer::start(Vec::new());
    let uri = format!("--mongodb-uri={}", mongo.uri());
    let ran = doctor(&place, &healthy(&relay), &[&uri]);
    assert_found(&ran, "mongodb", "ok", "a single server");
    assert_found(&ran, "mongodb", "ok", "may create collections");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let runtime = Runtime::new().expect("a runtime");
    let left = runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(mongo.uri())
            .await
            .expect("an address");
        let database = client.database("skytide");
        let left = database.list_collection_names().await.expect("a server");
        // The server refuses the command, like for a user without this permission (code 13).
        let refused = doc! { "failCommands": ["createIndexes"], "errorCode": 13 };
        mongo.fail_point("failCommand", "alwaysOn", refused).await;
        left
    });
    assert!(left.is_empty(), "doctor left {left:?}");
    let ran = doctor(&place, &healthy(&relay), &[&uri]);
    assert_found(&ran, "mongodb", "problem", "create an index");
    let ran = doctor(
        &place,
        &[],
        &[&uri, "--service=serve", "--api-address=127.0.0.1:0"],
    );
    assert_eq!(ran.code, Some(0), "serve only reads: {ran:?}");
}

#[test]
fn a_bundle_of_a_running_service_has_its_record_and_no_secret() {
    let place = Place::new();
    let secret = "hunter2-hunter2";
    let token = place.write("token", secret);
    let mut up = place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]);
    let mut doctor = place.command(&["doctor", "--bundle=b.tar.gz", NOWHERE, "--timeout=2s"]);
    for command in [&mut up, &mut doctor] {
        command.env("SKYTIDE_LOG", "debug");
        command.env("NATS_TOKEN_FILE", &token);
        for name in secrets() {
            // The relay refuses an address with a user, and the log and the views stay in files.
            if !["FIREHOSE_URL", "NATS_URL", "MONGODB_URI"].contains(&name.as_str()) {
                command.env(name, format!("http://me:{secret}@127.0.0.1:9"));
            }
        }
    }
    let (up, _) = Running::start(up);
    // The record is complete when the first sample is taken, before the API listens or soon after.
    let files = loop {
        let ran = Ran::from(doctor.output().expect("doctor runs"));
        assert_eq!(ran.code, Some(1), "no relay: {ran:?}");
        assert!(ran.out.contains("up (process"), "{ran:?}");
        let files = unpacked(&place.path().join("b.tar.gz"));
        let folder = format!("up-{}/", up.0.id());
        let has = |part: &str| {
            files
                .iter()
                .any(|it| it.0.starts_with(&format!("{folder}{part}")))
        };
        if ["metrics/", "health/", "log/", "config.txt", "limits.txt"]
            .iter()
            .all(|it| has(it))
        {
            break files;
        }
    };
    for path in ["README.txt", "manifest.json", "doctor.json", "config.txt"] {
        assert!(files.iter().any(|it| it.0 == path), "{path}");
    }
    for (path, content) in &files {
        let text = String::from_utf8_lossy(content);
        assert!(!text.contains("hunter2"), "{path} has the secret: {text}");
    }
    let settings = files
        .iter()
        .find(|it| it.0.starts_with("up-") && it.0.ends_with("config.txt"));
    let settings = String::from_utf8_lossy(&settings.expect("the options").1).into_owned();
    assert!(settings.contains("http://***@127.0.0.1:9"), "{settings}");
    let size = fs::metadata(place.path().join("b.tar.gz"))
        .expect("a file")
        .len();
    assert!(size <= BUNDLE_BYTES_MAX);
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
    let left: Vec<_> = fs::read_dir(place.path().join("data/flight"))
        .expect("a folder")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn no_secret_of_any_option_is_in_a_bundle_or_on_the_terminal() {
    let place = Place::new();
    let file = |name: &str| {
        let path = place.write(name, format!("{name}-hunter2-hunter2"));
        path.to_str().expect("text").to_owned()
    };
    let in_files = [
        "NATS_TOKEN_FILE",
        "NATS_NKEY_FILE",
        "NATS_CREDENTIALS_FILE",
        "INDEXER_SECRET_FILE",
    ];
    let mut variables: Vec<(String, String)> = in_files
        .iter()
        .map(|name| ((*name).to_owned(), file(name)))
        .collect();
    for name in secrets() {
        let scheme = match name.as_str() {
            "FIREHOSE_URL" => "ws",
            "NATS_URL" => "nats",
            "MONGODB_URI" => "mongodb",
            _ => "http",
        };
        let value = format!("{scheme}://me:hunter2%40@127.0.0.1:9/?password=hunter2");
        variables.push((name, value));
    }
    // The same values in files.
    let with_file = |(name, value): &(String, String)| {
        let path = place.write(&format!("{name}.secret"), value);
        (
            format!("{name}_FILE"),
            path.to_str().expect("text").to_owned(),
        )
    };
    let of_options = variables.iter().filter(|it| secrets().contains(&it.0));
    let in_files: Vec<(String, String)> = of_options.map(with_file).collect();
    for variables in [variables.clone(), in_files] {
        let mut doctor = place.command(&["doctor", "--bundle=b.tar.gz", "--timeout=2s"]);
        doctor.env_remove("API_RESOLVER_URL").envs(variables);
        let ran = Ran::from(doctor.output().expect("doctor runs"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains("FIREHOSE_URL"), "{ran:?}");
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
        let bundle = place.path().join("b.tar.gz");
        for (path, content) in unpacked(&bundle) {
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains("hunter2"), "{path} has the secret: {text}");
        }
        fs::remove_file(bundle).expect("removed");
    }
}

#[test]
fn a_service_that_fails_writes_its_record_and_a_bundle_contains_it() {
    let place = Place::new();
    let (up, _) = Running::start(place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]));
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("--api-address={}", taken.local_addr().expect("an address"));
    for _ in 0..2 {
        let ran = place.run(&["up", NOWHERE, &address]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.err
                .contains("the flight record is in ./data/flight/failed-"),
            "{ran:?}"
        );
    }
    let ran = place.run(&[
        "doctor",
        "--bundle=b.tar.gz",
        NOWHERE,
        "--api-address=127.0.0.1:0",
    ]);
    let files = unpacked(&place.path().join("b.tar.gz"));
    let failed: Vec<_> = files
        .iter()
        .filter(|it| it.0.starts_with("failed/"))
        .collect();
    assert_eq!(failed.len(), 1, "the same failure twice: {ran:?}");
    place.write("failed.tar.gz", &failed[0].1);
    let files = unpacked(&place.path().join("failed.tar.gz"));
    let error = files
        .iter()
        .find(|it| it.0 == "error.txt")
        .expect("the error");
    let error = String::from_utf8_lossy(&error.1).into_owned();
    assert!(
        error.contains("cannot listen on") && error.contains("API_ADDRESS"),
        "{error}"
    );
    let nowhere = place.run(&["doctor", "--bundle=/proc/b.tar.gz", NOWHERE]);
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
}
