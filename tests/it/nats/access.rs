//! Authentication of clients and servers, and the absence of secrets in errors and options.

use std::path::{Path, PathBuf};
use std::process::Command;

use skytide_core::config::Nats as Config;
use skytide_core::port::log::Log;
use skytide_nats::NatsLog;
use skytide_tests::contract_log::{events, write};
use skytide_tests::servers::Nats;
use tempfile::TempDir;

use super::{chain, connect, named};

/// A key pair made for this test: the seed, and the public key that is configured on the server.
const NKEY: (&str, &str) = (
    "SUABK4MPELK6EMPLY5DSER4BRKCWNZEAIGXDRLXKTZGFYNXFD4AIEKXU4E",
    "UBF4PFWMM2IYOIKHJFJPSULUBO4UNZPPE2BFND6JSFKTL6I3RG4734KA",
);

async fn connects(config: &Config) {
    let log = connect(config).await;
    let mut writer = log.writer().await.unwrap();
    write(&mut *writer, events(0, 3)).await;
}

/// The server rejects the connection, and neither the error nor the options contain the secret.
async fn refused(config: &Config, secret: &str) {
    let error = NatsLog::connect(config).await.unwrap_err();
    let shown = format!("{} {error:?} {config:?}", chain(&error));
    assert!(!shown.contains(secret), "{shown}");
}

fn file(folder: &TempDir, text: &str) -> Option<PathBuf> {
    let path = folder.path().join("secret");
    std::fs::write(&path, text).unwrap();
    Some(path)
}

fn at(nats: &Nats, user: &str) -> Config {
    named(&format!("nats://{user}127.0.0.1:{}", nats.port()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_and_password_are_part_of_the_address() {
    let lines = r#"authorization { user: "me", password: "sec/ret@:" }"#;
    let Some(nats) = Nats::with(lines) else {
        return;
    };
    connects(&at(&nats, "me:sec%2Fret%40%3A@")).await;
    refused(&at(&nats, "me:wrong-one@"), "wrong-one").await;
    refused(&at(&nats, ""), "sec/ret").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_part_of_the_address_or_in_a_file() {
    let Some(nats) = Nats::with(r#"authorization { token: "hush" }"#) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    connects(&at(&nats, "hush@")).await;
    let mut config = at(&nats, "");
    config.token_file = file(&folder, "hush\n");
    connects(&config).await;
    config.token_file = file(&folder, "wrong-one\n");
    refused(&config, "wrong-one").await;
    config.token_file = Some("/nowhere/token".into());
    refused(&config, "hush").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nkey_is_read_from_a_file() {
    let (seed, public) = NKEY;
    let lines = format!("authorization {{ users: [ {{ nkey: {public} }} ] }}");
    let Some(nats) = Nats::with(&lines) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = at(&nats, "");
    config.nkey_file = file(&folder, seed);
    connects(&config).await;
    config.nkey_file = file(&folder, "SUNOSEED");
    refused(&config, "SUNOSEED").await;
}

/// The operator and its account were made for this test. So was the stranger, whose account the
/// server does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jwt_and_its_key_are_read_from_a_credentials_file() {
    let Some(nats) = Nats::with(include_str!("../../fixtures/nats/operator.conf")) else {
        return;
    };
    let user = include_str!("../../fixtures/nats/user.creds");
    let stranger = include_str!("../../fixtures/nats/stranger.creds");
    let seed = |text: &'static str| text.lines().find(|line| line.starts_with("SU")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = at(&nats, "");
    refused(&config, seed(user)).await;
    config.credentials_file = file(&folder, user);
    connects(&config).await;
    config.credentials_file = file(&folder, stranger);
    refused(&config, seed(stranger)).await;
    config.credentials_file = file(&folder, seed(user));
    refused(&config, seed(user)).await;
    config.credentials_file = Some("/nowhere/credentials".into());
    refused(&config, seed(user)).await;
}

/// Runs openssl in a folder.
fn openssl(folder: &Path, args: &str) {
    let done = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A certificate authority of the test's own, with certificates for a server and a client.
fn certificates() -> Option<TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: TLS needs the program openssl");
        assert!(
            std::env::var_os("CI").is_none(),
            "CI skips no test: install openssl"
        );
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        at,
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ours"),
    );
    std::fs::write(at.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    std::fs::write(at.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    for name in ["server", "client"] {
        openssl(
            at,
            &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        let sign = format!("-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext");
        openssl(
            at,
            &format!("x509 -req -in {name}.csr -out {name}.pem {sign}"),
        );
    }
    Some(folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_each_side_presents_a_certificate_of_a_private_authority() {
    let Some(folder) = certificates() else { return };
    let path = |name: &str| folder.path().join(name);
    let show = |name: &str| path(name).display().to_string();
    let lines = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        show("server.pem"),
        show("server.key"),
        show("ca.pem")
    );
    let Some(nats) = Nats::with(&lines) else {
        return;
    };
    let mut config = named(&format!("tls://127.0.0.1:{}", nats.port()));
    config.connect_timeout = "1s".parse().unwrap();
    assert!(
        NatsLog::connect(&config).await.is_err(),
        "the private authority is not trusted by the system"
    );
    config.tls_ca_file = Some(path("ca.pem"));
    assert!(
        NatsLog::connect(&config).await.is_err(),
        "without a client certificate the server refuses"
    );
    config.tls_certificate_file = Some(path("client.pem"));
    config.tls_key_file = Some(path("client.key"));
    connects(&config).await;
}
