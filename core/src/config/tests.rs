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

fn refusal(flags: &[&str]) -> String {
    let error = parse(flags).expect_err("a refusal");
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
fn a_value_out_of_range_is_refused_with_the_range() {
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
             allowed is 10 to 60000",
        ),
        (
            "--store-log-bytes-max=1MiB",
            "error: invalid value '1MiB' for '--store-log-bytes-max <BYTES>': \
             1MiB is not in 64MiB to 64TiB",
        ),
        (
            "--firehose-start=yesterday",
            "error: invalid value 'yesterday' for '--firehose-start <live|oldest|SEQ>': \
             allowed is live, oldest \
             or a seq of the relay",
        ),
        (
            "--nats-stream=a.b",
            "error: invalid value 'a.b' for '--nats-stream <NAME>': \
             allowed are 1 to 64 letters, digits, - and _",
        ),
    ];
    for (flag, expected) in cases {
        assert_eq!(refusal(&[flag]), expected);
    }
}

#[test]
fn servers_of_a_cluster_are_read_and_the_rest_has_its_defaults() {
    let nats = Nats::at("nats://me:secret@one:4222,tls://two").expect("two servers");
    let hosts: Vec<_> = nats.url.iter().map(Endpoint::host).collect();
    assert_eq!(hosts, ["one:4222", "two"]);
    assert_eq!(nats.stream.as_str(), "skytide");
    assert!(!format!("{nats:?}").contains("secret"));
    assert!(Nats::at("nats://one,http://two").is_err());
}

#[test]
fn a_start_behind_a_seq_is_read() {
    let config = parse(&["--firehose-start=42"]).expect("a seq");
    assert_eq!(config.firehose.start, Start::After(Cursor(42)));
}

#[test]
fn collections_are_names_or_beginnings_of_names() {
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
fn sizes_and_times_come_back_as_they_were_written() {
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
    let refused = Endpoint::parse("https://me:secret@host", &["wss"]).expect_err("a scheme");
    assert!(!refused.to_string().contains("secret"), "{refused}");
    let refused = Endpoint::parse("me:secret@host", &["wss"]).expect_err("no scheme");
    assert!(!refused.to_string().contains("secret"), "{refused}");
    for wrong in ["", "bsky.network", "wss://", "wss:///path", "wss://a b"] {
        assert!(Endpoint::parse(wrong, &["wss"]).is_err(), "{wrong:?}");
    }
}

#[test]
fn an_address_is_read_in_every_spelling() {
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
        ("wss://a:abc", "no port"),
        ("wss://a:", "no port"),
        ("wss://a:0", "no port"),
        ("wss://a:65536", "no port"),
        ("wss://a:-1", "no port"),
        ("wss://a:1,b:x", "no port"),
        ("wss://[::1]:x", "no port"),
        ("wss://a,", "no host"),
        ("wss://:443", "no host"),
        ("ws://a", "another scheme"),
        ("wss:/a", "no scheme"),
        ("wss://a\u{feff}b", "a space or a control character"),
    ];
    for (text, why) in cases {
        let refused = Endpoint::parse(text, &["wss"]).expect_err(text).to_string();
        assert!(refused.contains(why), "{text:?}: {refused}");
    }
}

#[test]
fn nothing_of_a_password_is_shown_whatever_it_contains() {
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
        let refused = Endpoint::parse(&text, &["https"])
            .expect_err("a scheme")
            .to_string();
        assert!(
            !refused.contains("p4ss") && !refused.contains("w0rd"),
            "{refused}"
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
fn a_mistake_is_refused_and_a_strangers_name_is_reported() {
    use Origin::{Environment, File};
    let refused = |nearest| Err(Some(nearest));
    let cases = [
        ("FIREHOSE_URI", Environment, refused("FIREHOSE_URL")),
        ("firehose_url", Environment, refused("FIREHOSE_URL")),
        ("INDEXER_WORKER", Environment, refused("INDEXER_WORKERS")),
        ("NATS_PORT", File, refused("NATS_URL")),
        ("API_LISTEN", File, refused("API_ADDRESS")),
        ("STORE_QWERTY", File, Err(None)),
        ("NATS_PORT", Environment, Ok(Some("NATS_URL"))),
        ("API_LISTEN", Environment, Ok(Some("API_ADDRESS"))),
        ("API_LISTEN_ADDRESS", Environment, Ok(Some("API_ADDRESS"))),
        ("SKYTIDE_API_ADDRESS", Environment, Ok(Some("API_ADDRESS"))),
        ("SKYTIDE_LOG_LEVEL", Environment, Ok(Some("SKYTIDE_LOG"))),
        ("STORE_PATH", Environment, Ok(Some("STORE_DIR"))),
        ("INDEXER_THREADS", Environment, Ok(Some("INDEXER_WORKERS"))),
        ("API_PORT_7780_TCP_ADDR", Environment, Ok(None)),
        ("API_KEY", Environment, Ok(None)),
        ("INDEXER_FOO", Environment, Ok(None)),
        ("SCHEDULER_QQQQQQ", Environment, Ok(None)),
        ("MONGODB_URI_FIL", Environment, refused("MONGODB_URI_FILE")),
        ("API_ADDRESS_FILE", File, refused("API_ADDRESS")),
    ];
    for (name, origin, expected) in cases {
        let found = check([variable(name, origin)]);
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
        assert_eq!(check([variable(name, origin)]), Ok(Vec::new()), "{name}");
    }
}

#[test]
fn what_is_in_force_says_where_it_comes_from() {
    let command = Config::augment_args(Command::new("skytide").no_binary_name(true));
    let flags = ["--firehose-url", "wss://me:secret@relay.example"];
    let matches = command.get_matches_from(flags);
    let secrets = ["MONGODB_URI".to_owned()];
    let settings = in_force(&matches, &[], &secrets);
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
    let settings = in_force(&matches, &[], &[]);
    let of = |name: &str| settings.iter().find(|setting| setting.name == name);
    let dir = of("STORE_DIR").and_then(|setting| setting.value.clone());
    assert_eq!(dir.as_deref(), Some("/srv/a@b?c=d"));
}
