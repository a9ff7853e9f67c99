//! Configurations that are refused before anything starts, and their errors.

use crate::process::{Place, Ran};

#[track_caller]
fn assert_refused(ran: &Ran, code: i32, text: &str) {
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
    assert_refused(
        &ran,
        1,
        "unknown option FIREHOSE_URI in the environment; did you mean FIREHOSE_URL?",
    );
}

#[test]
fn a_variable_of_a_container_platform_only_causes_a_warning() {
    let ran = Place::new().run_with(
        &["config", "--skytide-log=warn"],
        [("NATS_PORT", "tcp://10.0.0.1:4222"), ("NO_COLOR", "1")],
    );
    assert_refused(&ran, 0, "NATS_PORT");
}

#[test]
fn an_unknown_name_with_our_prefix_in_dotenv_is_refused() {
    let place = Place::new();
    place.write(".env", "NATS_PORT=4222\n");
    assert_refused(
        &place.run(&["config"]),
        1,
        "unknown option NATS_PORT in .env; did you mean NATS_URL?",
    );
}

#[test]
fn a_malformed_line_of_dotenv_is_refused_without_showing_it() {
    let place = Place::new();
    place.write(".env", "FIREHOSE_URL wss://me:hunter2@relay.example\n");
    let ran = place.run(&["config"]);
    assert_refused(
        &ran,
        1,
        ".env is not readable: the line of \"FIREHOSE_URL\"",
    );
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn a_value_out_of_range_is_refused_with_range_and_origin() {
    let place = Place::new();
    place.write(".env", "INDEXER_WORKERS=999\n");
    let ran = place.run(&["config"]);
    assert_refused(&ran, 2, "the value of INDEXER_WORKERS comes from .env");
    assert_refused(&ran, 2, "999 is not in 0 to 256");
}

#[test]
fn an_unknown_flag_is_refused_with_the_nearest_one() {
    let ran = Place::new().run(&["up", "--firehose-uri=wss://relay.example"]);
    assert_refused(&ran, 2, "--firehose-url");
}

#[test]
fn an_invalid_mongodb_address_is_refused_without_its_password() {
    let ran = Place::new().run_with(&["up"], [("MONGODB_URI", "http://me:hunter2@localhost")]);
    assert_refused(&ran, 2, "mongodb://HOST or mongodb+srv://HOST");
    assert!(!(ran.out + &ran.err).contains("hunter2"));
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
        assert_refused(&place.run(args), 1, "is not a data folder of skytide");
    }
    assert_eq!(
        std::fs::read_to_string(diary).expect("an unchanged file"),
        "dear diary"
    );
    assert!(!place.path().join("out").exists());
}

#[test]
fn an_unknown_job_and_an_unknown_time_zone_are_refused() {
    let place = Place::new();
    let fixture = crate::process::recording("pds.frames.zst");
    assert_eq!(
        place.run(&["replay", &fixture, "--data", "data"]).code,
        Some(0)
    );
    assert_refused(
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
    assert_refused(&place.run(&zone), 1, "\"Mars\" is no time zone");
    let taken = place.run(&["schedule", "--run", "snapshot"]);
    assert!(taken.out.starts_with("snapshot: stored "), "{taken:?}");
    let again = place.run(&["schedule", "--run", "snapshot"]);
    assert_eq!(
        again.out,
        "snapshot: nothing to do: no commit since the last snapshot\n"
    );
}
