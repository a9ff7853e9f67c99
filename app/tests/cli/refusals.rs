//! Configurations that are refused before anything starts, and their errors.

use crate::process::{Place, Ran};

#[track_caller]
fn assert_exit(ran: &Ran, code: i32, text: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.err.contains(text), "{text:?} is not in {}", ran.err);
}

#[test]
fn help_names_every_command_and_a_commands_help_its_own_options() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    let commands = [
        "up", "ingest", "index", "schedule", "serve", "replay", "record", "export", "simnet",
        "config",
    ];
    for command in commands {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command}: {}",
            help.out
        );
        assert_eq!(place.run(&[command, "--help"]).code, Some(0), "{command}");
    }
    let serve = place.run(&["serve", "--help"]).out;
    assert!(
        serve.contains("--api-address") && !serve.contains("--firehose-url"),
        "{serve}"
    );
}

#[test]
fn a_typo_in_the_name_of_a_variable_is_refused_with_the_right_name() {
    let ran = Place::new().run_with(&["config"], [("FIREHOSE_URI", "wss://relay.example")]);
    assert_exit(
        &ran,
        1,
        "unknown option FIREHOSE_URI in the environment; did you mean FIREHOSE_URL?",
    );
}

#[test]
fn a_container_platforms_variable_is_only_warned_about() {
    let variables = [
        ("NATS_PORT", "tcp://10.0.0.1:4222"),
        ("API_LISTEN", "0.0.0.0:80"),
        ("STORE_QWERTY", "1"),
        ("NO_COLOR", "1"),
    ];
    let ran = Place::new().run_with(&["config", "--skytide-log=warn"], variables);
    assert_exit(&ran, 0, "NATS_PORT");
    assert_exit(&ran, 0, "did you mean API_ADDRESS?");
    let line = ran.err.lines().find(|line| line.contains("STORE_QWERTY"));
    assert!(
        !line.expect("a warning").contains("did you mean"),
        "{}",
        ran.err
    );
}

#[test]
fn an_unknown_name_with_our_prefix_in_dotenv_is_refused() {
    let place = Place::new();
    place.write(".env", "NATS_PORT=4222\n");
    assert_exit(
        &place.run(&["config"]),
        1,
        "unknown option NATS_PORT in .env; did you mean NATS_URL?",
    );
    place.write(".env", "STORE_QWERTY=4222\n");
    assert_exit(
        &place.run(&["config"]),
        1,
        "unknown option STORE_QWERTY in .env; `skytide config` prints all options",
    );
}

#[test]
fn a_malformed_line_of_dotenv_is_refused_without_showing_it() {
    let place = Place::new();
    let lines = [
        "FIREHOSE_URL wss://me:Sup3rSecret@relay.example",
        "DB_PASSWORD=Sup3rSecret word",
        "DB_PASSWORD='Sup3rSecret",
        "DB_PASSWORD=Sup3rSecret\\",
        "Sup3rSecret",
    ];
    for line in lines {
        place.write(".env", format!("# Ours\nSTORE_DIR=here\n{line}\n"));
        let ran = place.run(&["config"]);
        assert_exit(&ran, 1, ".env is not readable: line 3: ");
        assert!(
            !ran.err.contains("Sup3r") && !ran.err.contains("word"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn values_of_dotenv_are_taken_as_written() {
    let place = Place::new();
    let dotenv = "\u{feff}STORE_DIR=/tmp/pa$word\nNATS_TOKEN_FILE=\"${HOME}/token\"\n\
                  MONGODB_URI=mongodb://me:pa$$w0rd@h/?appName=$x\n";
    place.write(".env", dotenv);
    let ran = place.run_with(&["config"], [("HOME", "/root")]);
    let row = |name: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(name));
        line.expect(name)
            .split_whitespace()
            .nth(1)
            .expect("a value")
            .to_owned()
    };
    assert_eq!(row("STORE_DIR"), "/tmp/pa$word");
    assert_eq!(row("NATS_TOKEN_FILE"), "${HOME}/token");
    assert_eq!(row("MONGODB_URI"), "mongodb://***@h/?appName=***");
    assert_exit(
        &ran,
        0,
        ".env line 2: `$` in the value of NATS_TOKEN_FILE is taken as written",
    );
    assert!(
        !ran.err.contains("STORE_DIR") && !ran.err.contains("w0rd"),
        "{}",
        ran.err
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_range_and_origin() {
    let place = Place::new();
    place.write(".env", "INDEXER_WORKERS=999\n");
    let ran = place.run(&["config"]);
    assert_exit(&ran, 2, "the value of INDEXER_WORKERS comes from .env");
    assert_exit(&ran, 2, "999 is not in 0 to 256");
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_one() {
    let ran = Place::new().run(&["up", "--firehose-uri=wss://relay.example"]);
    assert_exit(&ran, 2, "--firehose-url");
}

#[test]
fn no_suggestion_names_a_flag_that_the_command_ignores() {
    for command in [["simnet", "serve"].as_slice(), &["record"], &["ingest"]] {
        let ran = Place::new().run(&[command, &["--address=localhost:1"]].concat());
        assert_exit(&ran, 2, "unexpected argument '--address'");
        assert!(
            !ran.err.contains("--api-address"),
            "{command:?}: {}",
            ran.err
        );
    }
    assert_exit(
        &Place::new().run(&["serve", "--address=localhost:1"]),
        2,
        "--api-address",
    );
}

#[test]
fn an_address_is_refused_with_the_reason_and_without_its_password() {
    let cases = [
        (
            "MONGODB_URI",
            "http://me:hunter2@localhost",
            "mongodb://HOST or mongodb+srv://HOST",
        ),
        (
            "MONGODB_URI",
            "mongodb://me:hunter2@localhost:abc",
            "not a port from 1 to 65535",
        ),
        (
            "MONGODB_URI",
            "mongodb://me:hun/ter2@localhost",
            "percent-encode the characters",
        ),
        (
            "MONGODB_URI",
            "mongodb://me:hun?ter2@localhost",
            "percent-encode the characters",
        ),
        ("MONGODB_URI", "me:hunter2", "it has no scheme"),
        (
            "NATS_URL",
            "nats://a:4222,nats://me:hunter2@b:0",
            "not a port from 1 to 65535",
        ),
        ("NATS_URL", "nats://me:hunter2@", "it has no host"),
        ("NATS_URL", "nats://me:hunter2@a b", "it contains a space"),
        (
            "SCHEDULER_PROFILES_URL",
            "https://me:hunter2@a:99999",
            "not a port from 1 to 65535",
        ),
        ("API_ADDRESS", "localhost", "has no port"),
        ("API_ADDRESS", "localhost:http", "\"http\" is not a port"),
        ("SKYTIDE_PROBE_ADDRESS", "::1:7781", "needs brackets"),
        ("INDEXER_LISTEN", "http://localhost:7600", "is a URL"),
        ("INDEXER_HOSTS", "a:1,b:no", "\"no\" is not a port"),
    ];
    for (name, value, why) in cases {
        let ran = Place::new().run_with(&["up"], [(name, value)]);
        assert_exit(&ran, 2, why);
        assert_exit(
            &ran,
            2,
            &format!("the value of {name} comes from the environment"),
        );
        for part in ["hunter2", "hun", "ter2"] {
            assert!(
                !(ran.out.clone() + &ran.err).contains(part),
                "{value}: {}",
                ran.err
            );
        }
    }
}

#[test]
fn other_spellings_of_an_address_are_understood() {
    let variables = [
        ("NATS_URL", "\u{feff}NATS://a:4222, tls://b\r\n"),
        ("MONGODB_URI", " MongoDB://a:27017,[::1]:27018/\n"),
        ("SCHEDULER_PROFILES_URL", "HTTPS://public.api.bsky.app/"),
        ("API_ADDRESS", "\u{feff}[::1]:7780"),
        ("INDEXER_HOSTS", "a:1, B:2"),
    ];
    let ran = Place::new().run_with(&["config"], variables);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn flags_override_environment_overrides_dotenv_overrides_defaults() {
    let place = Place::new();
    let dotenv = "INDEXER_WORKERS=1\nAPI_STREAM_CLIENTS_MAX=1\nFIREHOSE_URL=wss://a:b@c.example\n";
    place.write(".env", dotenv);
    let variables = [("INDEXER_WORKERS", "2"), ("API_STREAM_CLIENTS_MAX", "2")];
    let ran = place.run_with(&["config", "--indexer-workers=3"], variables);
    let row = |name: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(name));
        let words: Vec<_> = line.expect(name).split_whitespace().skip(1).collect();
        words.join(" ")
    };
    assert_eq!(row("INDEXER_WORKERS"), "3 flag");
    assert_eq!(row("API_STREAM_CLIENTS_MAX"), "2 environment");
    assert_eq!(row("FIREHOSE_URL"), "wss://***@c.example .env");
    assert_eq!(row("STORE_DIR"), "./data default");
    assert_eq!(row("NATS_URL"), "(unset) default");
}

#[test]
fn a_folder_that_is_not_a_data_folder_is_not_changed() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("data")).expect("a folder");
    let diary = place.write("data/diary.txt", "dear diary");
    for args in [
        ["up", "--firehose-url=ws://127.0.0.1:9"].as_slice(),
        &["export", "out"],
    ] {
        assert_exit(&place.run(args), 1, "is not a data folder of skytide");
    }
    assert_eq!(
        std::fs::read_to_string(diary).expect("an unchanged file"),
        "dear diary"
    );
    assert!(!place.path().join("out").exists());
}

#[test]
fn a_new_volume_and_a_home_directory_become_data_folders() {
    let place = Place::new();
    let bashrc = place.write(".bashrc", "theirs");
    std::fs::create_dir_all(place.path().join(".volume/lost+found")).expect("a folder");
    for part in ["log", "store", "checkpoints", "snapshots"] {
        let part = place.path().join(".volume").join(part).join("lost+found");
        std::fs::create_dir_all(part).expect("a folder");
    }
    let recording = crate::process::recording("pds.frames.zst");
    let refused = place.run(&["replay", &recording, "--data", ".volume"]);
    assert_exit(&refused, 1, "it holds \"checkpoints\" and no skytide.toml");
    // Parts of a data folder may be volumes of their own.
    let about = "format = 1\nsource = \"nats:skytide\"\n";
    place.write(".volume/skytide.toml", about);
    let ran = place.run(&["export", "out", "--store-dir=.volume"]);
    assert_exit(&ran, 1, "nothing is counted yet");

    let ran = place.run(&["replay", &recording, "--data", "."]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(bashrc).expect("still there"),
        "theirs"
    );
}

#[test]
fn a_job_that_does_not_exist_and_a_wrong_zone_are_refused() {
    let place = Place::new();
    let fixture = crate::process::recording("pds.frames.zst");
    assert_eq!(
        place.run(&["replay", &fixture, "--data", "data"]).code,
        Some(0)
    );
    assert_exit(
        &place.run(&["schedule", "--run", "snap"]),
        1,
        "there are: profiles, retention, snapshot",
    );
    let zone = [
        "schedule",
        "--run",
        "snapshot",
        "--scheduler-time-zone=Mars",
    ];
    assert_exit(&place.run(&zone), 1, "\"Mars\" is not a time zone");
    let taken = place.run(&["schedule", "--run", "snapshot"]);
    assert!(taken.out.starts_with("snapshot: stored "), "{taken:?}");
    let again = place.run(&["schedule", "--run", "snapshot"]);
    assert_eq!(
        again.out,
        "snapshot: nothing to do: no commit since the last snapshot\n"
    );
}
