use clap::{Args, Command, FromArgMatches};

use super::*;
use crate::id::Cursor;

fn parse(flags: &[&str]) -> Result<Config, String> {
    let command = Config::augment_args(Command::new("skytide").no_binary_name(true));
    let matches = command
        .try_get_matches_from(flags)
        .map_err(|error| error.to_string())?;
    Config::from_arg_matches(&matches).map_err(|error| error.to_string())
}

fn first_error_line(flags: &[&str]) -> String {
    let error = parse(flags).expect_err("an error");
    error.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn every_option_has_one_name_in_all_its_forms() {
    for option in options() {
        let flag = format!("--{}", option.name.to_lowercase().replace('_', "-"));
        assert_eq!(option.flag, flag);
        assert!(
            PREFIXES
                .iter()
                .any(|prefix| option.name.starts_with(prefix)),
            "{} has none of the prefixes",
            option.name
        );
        assert!(option.doc.len() > 1, "{} has no doc", option.name);
        assert!(!option.value.is_empty(), "{} has no unit", option.name);
    }
}

#[test]
fn options_whose_values_are_addresses_of_servers_are_secret() {
    let addresses = [
        "FIREHOSE_URL",
        "SCHEDULER_PROFILES_URL",
        "API_RESOLVER_URL",
        "API_PLC_URL",
        "NATS_URL",
        "MONGODB_URI",
    ];
    assert_eq!(secrets(), addresses);
}

#[test]
fn every_default_is_allowed() {
    let config = parse(&[]).expect("defaults");
    assert_eq!(config.firehose.url[0].to_string(), "wss://bsky.network");
    assert_eq!(config.firehose.url.len(), 1);
    assert_eq!(config.firehose.start, Start::Live);
    assert_eq!(config.firehose.collections, [CollectionFilter::All]);
    assert_eq!(config.store.log_bytes_max, ByteSize(64 << 30));
    assert_eq!(config.api.address.to_string(), "127.0.0.1:7780");
}

#[test]
fn a_value_out_of_range_is_rejected_with_the_range() {
    let cases = [
        (
            "--firehose-tick-interval-ms=9",
            "error: invalid value '9' for '--firehose-tick-interval-ms <MS>': \
             9 is not in 10 to 60000",
        ),
        (
            "--firehose-tick-interval-ms=fast",
            "error: invalid value 'fast' for '--firehose-tick-interval-ms <MS>': \
             invalid digit found in string; \
             the allowed range is 10 to 60000",
        ),
        (
            "--store-log-bytes-max=1MiB",
            "error: invalid value '1MiB' for '--store-log-bytes-max <BYTES>': \
             1MiB is not in 64MiB to 64TiB",
        ),
        (
            "--firehose-start=yesterday",
            "error: invalid value 'yesterday' for '--firehose-start <live|oldest|SEQ>': \
             allowed values are live, oldest \
             or a seq of the relay",
        ),
        (
            "--nats-stream=a.b",
            "error: invalid value 'a.b' for '--nats-stream <NAME>': \
             a stream name has 1 to 64 letters, digits, - and _",
        ),
    ];
    for (flag, expected) in cases {
        assert_eq!(first_error_line(&[flag]), expected);
    }
}

#[test]
fn addresses_of_nats_servers_are_parsed_and_other_options_have_defaults() {
    let nats = Nats::at("nats://me:secret@one:4222,tls://two").expect("two servers");
    let hosts: Vec<_> = nats.url.iter().map(Endpoint::host).collect();
    assert_eq!(hosts, ["one:4222", "two"]);
    assert_eq!(nats.stream.as_str(), "skytide");
    assert!(!format!("{nats:?}").contains("secret"));
    assert!(Nats::at("nats://one,http://two").is_err());
}

#[test]
fn a_start_after_a_seq_is_parsed() {
    let config = parse(&["--firehose-start=42"]).expect("a seq");
    assert_eq!(config.firehose.start, Start::After(Cursor(42)));
}

#[test]
fn collections_are_names_or_prefixes_of_names() {
    let config = parse(&["--firehose-collections=app.bsky.*,com.example.thing"]).expect("two");
    let passes = |name: &str| {
        config
            .firehose
            .collections
            .iter()
            .any(|it| it.matches(name))
    };
    assert!(passes("app.bsky.feed.post"));
    assert!(passes("com.example.thing"));
    assert!(!passes("app.bskyx.feed.post"));
    assert!(!passes("com.example.things"));
    for wrong in ["app.bsky.", "*.post", "app bsky.*", "post"] {
        assert!(
            parse(&["--firehose-collections", wrong]).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn sizes_and_durations_round_trip() {
    for text in ["64GiB", "512MiB", "4096TiB", "1000", "3KiB"] {
        assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
    }
    for text in ["30d", "36h", "90s", "10m", "0s"] {
        assert_eq!(text.parse::<Span>().expect(text).to_string(), text);
    }
    for wrong in ["", "-1", "64GB", "99999999TiB", "1.5GiB"] {
        assert!(wrong.parse::<ByteSize>().is_err(), "{wrong:?}");
    }
    for wrong in ["", "10", "-1s", "1w", "99999999999999999d"] {
        assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
    }
}

#[test]
fn an_address_never_shows_its_secrets() {
    let cases = [
        ("wss://bsky.network", "wss://bsky.network", "bsky.network"),
        (
            "ws://me:se@cret@Host:80/x?token=abc&b",
            "ws://***@Host:80/x?token=***&b=***",
            "host:80",
        ),
        (
            "wss://token@relay.example/",
            "wss://***@relay.example/",
            "relay.example",
        ),
    ];
    for (text, shown, host) in cases {
        let endpoint = Endpoint::parse(text, &["wss", "ws"]).expect(text);
        assert_eq!(endpoint.to_string(), shown);
        assert_eq!(format!("{endpoint:?}"), format!("{shown:?}"));
        assert_eq!(endpoint.host(), host);
        assert_eq!(endpoint.with_secret(), text);
    }
    let error = Endpoint::parse("https://me:secret@host", &["wss"]).expect_err("a scheme");
    assert!(!error.to_string().contains("secret"), "{error}");
    let error = Endpoint::parse("me:secret@host", &["wss"]).expect_err("no scheme");
    assert!(!error.to_string().contains("secret"), "{error}");
    for wrong in ["", "bsky.network", "wss://", "wss:///path", "wss://a b"] {
        assert!(Endpoint::parse(wrong, &["wss"]).is_err(), "{wrong:?}");
    }
}

#[test]
fn an_address_is_parsed_in_every_spelling() {
    let cases = [
        ("WSS://Relay.example", "wss://Relay.example"),
        ("\u{feff}wss://a:443/\r\n", "wss://a:443/"),
        (" wss://a ", "wss://a"),
        ("wss://[::1]:2583", "wss://[::1]:2583"),
        ("wss://[::1]", "wss://[::1]"),
        ("wss://a:1,b:2,c/db", "wss://a:1,b:2,c/db"),
        ("wss://u:p%40w%3A@a:1", "wss://u:p%40w%3A@a:1"),
    ];
    for (text, read) in cases {
        let endpoint = Endpoint::parse(text, &["wss"]).expect(text);
        assert_eq!((endpoint.with_secret(), endpoint.scheme()), (read, "wss"));
    }
    let cases = [
        ("wss://a:abc", "not a port"),
        ("wss://a:", "not a port"),
        ("wss://a:0", "not a port"),
        ("wss://a:65536", "not a port"),
        ("wss://a:-1", "not a port"),
        ("wss://a:1,b:x", "not a port"),
        ("wss://[::1]:x", "not a port"),
        ("wss://a,", "no host"),
        ("wss://:443", "no host"),
        ("ws://a", "another scheme"),
        ("wss:/a", "no scheme"),
        ("wss://a\u{feff}b", "a space or a control character"),
    ];
    for (text, why) in cases {
        let error = Endpoint::parse(text, &["wss"]).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn no_part_of_a_password_is_shown() {
    for password in [
        "p4ss/w0rd",
        "p4ss?w0rd",
        "p4ss#w0rd",
        "p4ss@w0rd",
        "p4ss:w0rd",
        "p4ss,w0rd",
    ] {
        let text = format!("wss://me:{password}@host:1/path?token={password}");
        let shown = masked(&text);
        assert!(
            !shown.contains("p4ss") && !shown.contains("w0rd"),
            "{shown}"
        );
        let error = Endpoint::parse(&text, &["https"])
            .expect_err("a scheme")
            .to_string();
        assert!(
            !error.contains("p4ss") && !error.contains("w0rd"),
            "{error}"
        );
    }
    assert_eq!(masked("nats://me:p4ss"), "nats://***");
    for text in ["me:p4ss", "me:p4ss@wss://host", "p4ss", "wss:/me:p4ss@host"] {
        assert_eq!(masked(text), "***");
    }
}

fn variable(name: &str, origin: Origin) -> Variable {
    let name = name.to_owned();
    Variable { name, origin }
}

#[test]
fn a_misspelled_option_is_rejected_and_an_unknown_name_is_reported() {
    use Origin::{Environment, File};
    let rejected = |nearest| Err(Some(nearest));
    let cases = [
        ("FIREHOSE_URI", Environment, rejected("FIREHOSE_URL")),
        ("firehose_url", Environment, rejected("FIREHOSE_URL")),
        ("INDEXER_WORKER", Environment, rejected("INDEXER_WORKERS")),
        ("NATS_PORT", File, rejected("NATS_URL")),
        ("API_LISTEN", File, rejected("API_ADDRESS")),
        ("STORE_QWERTY", File, Err(None)),
        ("NATS_PORT", Environment, Ok(Some("NATS_URL"))),
        ("API_LISTEN", Environment, Ok(Some("API_ADDRESS"))),
        ("API_LISTEN_ADDRESS", Environment, Ok(Some("API_ADDRESS"))),
        ("SKYTIDE_API_ADDRESS", Environment, Ok(Some("API_ADDRESS"))),
        ("SKYTIDE_LOG_LEVEL", Environment, Ok(Some("SKYTIDE_LOG"))),
        ("STORE_PATH", Environment, Ok(Some("STORE_DIR"))),
        ("INDEXER_THREADS", Environment, Ok(Some("INDEXER_WORKERS"))),
        ("API_PORT_7780_TCP_ADDR", Environment, Ok(None)),
        ("API_KEY", Environment, Ok(Some("API_KEY_RATE"))),
        ("INDEXER_FOO", Environment, Ok(None)),
        ("SCHEDULER_QQQQQQ", Environment, Ok(None)),
        ("MONGODB_URI_FIL", Environment, rejected("MONGODB_URI_FILE")),
        ("API_ADDRESS_FILE", File, rejected("API_ADDRESS")),
    ];
    for (name, origin, expected) in cases {
        let found = check_names([variable(name, origin)]);
        let found = match &found {
            Ok(unknown) => Ok(unknown[0].nearest.as_deref()),
            Err(misnamed) => Err(misnamed.nearest.as_deref()),
        };
        assert_eq!(found, expected, "{name} in {origin:?}");
    }
    for (name, origin) in [
        ("FIREHOSE_URL", File),
        ("PATH", Environment),
        ("DATABASE_URL", File),
        ("MONGODB_URI_FILE", File),
        ("NATS_URL_FILE", Environment),
    ] {
        assert_eq!(
            check_names([variable(name, origin)]),
            Ok(Vec::new()),
            "{name}"
        );
    }
}

#[test]
fn each_current_setting_has_a_value_and_a_source() {
    let command = Config::augment_args(Command::new("skytide").no_binary_name(true));
    let flags = ["--firehose-url", "wss://me:secret@relay.example"];
    let matches = command.get_matches_from(flags);
    let secrets = ["MONGODB_URI".to_owned()];
    let settings = effective_settings(&matches, &[], &secrets);
    let of = |name: &str| {
        let found = settings.iter().find(|setting| setting.name == name);
        let found = found.expect(name);
        (found.value.as_deref(), found.source)
    };
    assert_eq!(
        of("FIREHOSE_URL"),
        (Some("wss://***@relay.example"), "flag")
    );
    assert_eq!(of("STORE_DIR"), (Some("./data"), "default"));
    assert_eq!(of("NATS_URL"), (None, "default"));
    assert_eq!(of("MONGODB_URI"), (None, "file"));
    assert_eq!(settings.len(), options().len());
    let command = Config::augment_args(Command::new("skytide").no_binary_name(true));
    let matches = command.get_matches_from(["--store-dir=/srv/a@b?c=d"]);
    let settings = effective_settings(&matches, &[], &[]);
    let of = |name: &str| settings.iter().find(|setting| setting.name == name);
    let dir = of("STORE_DIR").and_then(|setting| setting.value.clone());
    assert_eq!(dir.as_deref(), Some("/srv/a@b?c=d"));
}

#[test]
fn the_resolver_of_handles_is_an_address_or_turned_off() {
    let config = parse(&[]).expect("defaults");
    let url = config.api.resolver_url.to_string();
    assert_eq!(url, "https://public.api.bsky.app");
    let config = parse(&["--api-resolver-url=never"]).expect("valid");
    assert_eq!(config.api.resolver_url, EndpointOrNever(None));
    assert_eq!(config.api.resolver_url.to_string(), "never");
    let error = first_error_line(&["--api-resolver-url=ftp://host"]);
    assert!(error.contains("it has another scheme"), "{error}");
}
