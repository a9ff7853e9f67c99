//! Keys and limits as an operator and a client use them: `skytide keys` beside a running server, on
//! files and on MongoDB.

use std::io::{Read, Write};
use std::net::TcpStream;

use skytide_tests::servers::Mongo;

use crate::process::Place;
use crate::services::{NOWHERE, Running};

/// The answer to a request.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn number(&self, header: &str) -> Option<u32> {
        let lines = self.head.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(header)?.strip_prefix(": "));
        values.next().map(|value| value.parse().expect("a number"))
    }
}

/// Sends a GET request with these further header lines.
fn get(address: &str, path: &str, headers: &[String]) -> Answer {
    let has_host = headers.iter().any(|line| line.starts_with("Host: "));
    let host = if has_host {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    Answer {
        status: head[9..12].parse().expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

fn with_key(key: &str) -> Vec<String> {
    vec![format!("X-API-Key: {key}")]
}

/// Requests in which an awaited change must have come. Even a fast machine needs many seconds for so
/// many connections.
const POLLS_MAX: u32 = 100_000;

/// Sends a request until it is answered with this status. The server reads its keys once a second.
fn until(address: &str, headers: &[String], status: u16) -> Answer {
    let mut seen = String::new();
    for _ in 0..POLLS_MAX {
        let answer = get(address, "/v1/jobs", headers);
        if answer.status == status {
            return answer;
        }
        seen = format!("{}\n\n{}", answer.head, answer.body);
    }
    panic!("no answer {status} in {POLLS_MAX} requests, the last one is {seen}");
}

/// Makes a key; checks that it is shown once, on standard output.
fn add(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let all = [["keys", "add", "--label", "a test"].as_slice(), args].concat();
    let ran = place.run_with(&all, variables.iter().copied());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let key = ran.out.strip_suffix('\n').expect("a line").to_owned();
    assert!(key.starts_with("sky_") && !key.contains('\n'), "{key}");
    assert!(
        !ran.err.contains(&key) && ran.err.contains("X-API-Key"),
        "{}",
        ran.err
    );
    let id = key.split('_').nth(1).expect("an id").to_owned();
    (key, id)
}

/// The key whose id is the same except for its last character.
fn mistyped(id: &str) -> String {
    let other = if id.ends_with('a') { 'b' } else { 'a' };
    format!("{}{other}", &id[..id.len() - 1])
}

#[test]
fn keys_are_made_listed_and_revoked_while_up_runs_on_the_folder() {
    let place = Place::new();
    let flags = ["up", NOWHERE, "--api-address=127.0.0.1:0", "--api-rate=0"];
    let (up, address) = Running::start(place.command(&flags));
    assert_eq!(
        get(&address, "/v1/jobs", &[]).status,
        200,
        "everybody may read"
    );
    let (key, id) = add(&place, &[], &[]);
    until(&address, &with_key(&key), 200);
    let bearer = [format!("Authorization: Bearer {key}")];
    assert_eq!(get(&address, "/v1/jobs", &bearer).status, 200);

    let listed = place.run(&["keys", "list"]);
    assert!(
        listed.out.contains(&id) && listed.out.contains("read,live"),
        "{listed:?}"
    );
    assert!(!listed.out.contains(&key[15..]), "{listed:?}");

    let wrong = place.run(&["keys", "revoke", &mistyped(&id)]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.err.contains(&format!("did you mean {id}?")),
        "{wrong:?}"
    );
    let revoked = place.run(&["keys", "revoke", &id]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let refused = until(&address, &with_key(&key), 401);
    assert!(refused.body.contains("\"invalid_key\""), "{}", refused.body);
    let again = place.run(&["keys", "revoke", &key]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.out.contains("already revoked"), "{again:?}");
    drop(up);

    place.write("data/keys.json", "{\"format\": 1");
    for args in [
        ["keys", "list"].as_slice(),
        &["keys", "add", "--label", "x"],
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.err.contains("keys.json") && ran.err.contains("remove it"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_closed_server_says_how_to_get_a_key_and_over_the_limit_how_long_to_wait() {
    let place = Place::new();
    // Keys can be made before the first start.
    let (key, _) = add(
        &place,
        &["--rate", "1", "--burst", "10", "--expires", "1d"],
        &[],
    );
    let flags = [
        "up",
        NOWHERE,
        "--api-address=127.0.0.1:0",
        "--api-anonymous=none",
    ];
    let (_up, address) = Running::start(place.command(&flags));
    let refused = get(&address, "/v1/network", &[]);
    assert_eq!(refused.status, 401);
    assert!(
        refused.body.contains("skytide keys add"),
        "{}",
        refused.body
    );
    assert_eq!(get(&address, "/", &[]).status, 200);
    until(&address, &with_key(&key), 200);
    // Each of these requests takes all units, which need ten seconds to come back.
    let mut answers = (0..100).map(|_| get(&address, "/v1/network", &with_key(&key)));
    let limited = answers.find(|answer| answer.status == 429);
    let limited = limited.expect("one of 100 requests is over the limit");
    assert_eq!(limited.number("ratelimit-limit"), Some(10));
    let retry_after = limited.number("retry-after").expect("a time");
    assert!((1..=10).contains(&retry_after), "{}", limited.head);
    until(&address, &with_key(&key), 200);
}

#[test]
fn the_first_start_writes_an_admin_key_and_admin_routes_need_it_and_our_own_host() {
    let place = Place::new();
    let flags = ["up", NOWHERE, "--api-address=127.0.0.1:0", "--api-rate=0"];
    let (mut up, address) = Running::start(place.command(&flags));
    let logged = up.until_logged("admin.key");
    let path = place.path().join("data/admin.key");
    let key = std::fs::read_to_string(&path).expect("a key");
    let key = key.trim();
    assert!(!logged.contains(key), "{logged}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    until(&address, &with_key(key), 200);
    let status = |lines: &[String]| get(&address, "/v1/admin/keys", lines).status;
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&with_key(key)), 200);
    for foreign in ["Host: evil.example", "Origin: https://evil.example"] {
        let headers = [with_key(key), vec![foreign.to_owned()]].concat();
        assert_eq!(status(&headers), 403, "{foreign}");
    }
    let own = [with_key(key), vec![format!("Origin: http://{address}")]].concat();
    assert_eq!(status(&own), 200);
    drop(up);
    let (_up, _) = Running::start(place.command(&flags));
    let kept = std::fs::read_to_string(&path).expect("a key");
    assert_eq!(kept.trim(), key, "a later start keeps the key");
}

/// Drops a database when the test ends, also when it fails.
struct TestDatabase {
    uri: String,
    name: String,
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let dropped = runtime.expect("a runtime").block_on(async {
            let client = mongodb::Client::with_uri_str(&self.uri).await?;
            client.database(&self.name).drop().await
        });
        if !std::thread::panicking() {
            dropped.expect("dropped");
        }
    }
}

#[test]
fn on_mongodb_every_process_accepts_a_new_key_and_refuses_a_revoked_one() {
    let Some(uri) = Mongo::shared() else {
        return;
    };
    let since = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_micros();
    let database = TestDatabase {
        name: format!("test-keys-{}-{since}", std::process::id()),
        uri,
    };
    let variables = [
        ("MONGODB_URI", database.uri.as_str()),
        ("MONGODB_DATABASE", &database.name),
    ];
    let places = [Place::new(), Place::new()];
    let start = |place: &Place| {
        let flags = ["serve", "--api-address=127.0.0.1:0", "--api-rate=0"];
        let mut command = place.command(&flags);
        Running::start({
            command.envs(variables);
            command
        })
    };
    let servers = places.each_ref().map(start);
    let operator = Place::new();
    let (key, id) = add(&operator, &["--scope", "read"], &variables);
    for (_, address) in &servers {
        until(address, &with_key(&key), 200);
    }
    let revoked = operator.run_with(&["keys", "revoke", &id], variables);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    for (_, address) in &servers {
        until(address, &with_key(&key), 401);
    }
    let listed = operator.run_with(&["keys", "list"], variables);
    assert!(listed.out.contains("revoked"), "{listed:?}");
    assert!(!operator.path().join("data").exists());
    // Both have an admin key of their own.
    let admin = |place: &Place| std::fs::read_to_string(place.path().join("data/admin.key"));
    let admins = places.each_ref().map(|place| admin(place).expect("a key"));
    assert_ne!(admins[0], admins[1]);
}
