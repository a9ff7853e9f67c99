//! The connection to the server: credentials, TLS, and how long to retry.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use skytide_core::config;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep};

use super::failed;

const CONNECT: &str = "connect to NATS";
/// The shortest and the longest delay between two attempts to connect.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// The time limit for one attempt to connect.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// The interval of pings. Two unanswered pings end the connection.
const PING: Duration = Duration::from_secs(5);
/// The maximum number of commands that are queued for the connection.
const COMMANDS_MAX: usize = 4_096;

/// Connects to the server. After that the client reconnects by itself, without a limit.
pub async fn connect(config: &config::Nats) -> Result<Client, LogError> {
    if config.url.is_empty() {
        return Err(failed(CONNECT)("NATS_URL is not set"));
    }
    let addresses = addresses(config)?;
    let deadline = Instant::now() + config.connect_timeout.0;
    let mut delay = RETRY_DELAY_MIN;
    loop {
        let error = match options(config).await?.connect(&addresses[..]).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let transient = matches!(
            error.kind(),
            ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns
        );
        if !transient || Instant::now() + delay > deadline {
            return Err(failed(CONNECT)(error));
        }
        tracing::info!(%error, "cannot connect to NATS yet: trying again");
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}

/// The addresses without user names, passwords and tokens.
fn addresses(config: &config::Nats) -> Result<Vec<ServerAddr>, LogError> {
    let bare = config.url.iter().map(|url| {
        let text = format!("{}://{}", url.scheme(), url.host());
        text.parse::<ServerAddr>().map_err(failed(CONNECT))
    });
    bare.collect()
}

async fn options(config: &config::Nats) -> Result<ConnectOptions, LogError> {
    let mut options = ConnectOptions::new()
        .name("skytide")
        .connection_timeout(ATTEMPT_MAX)
        .ping_interval(PING)
        .client_capacity(COMMANDS_MAX)
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempts| {
            let doubled = RETRY_DELAY_MIN * 2_u32.pow(attempts.min(8) as u32);
            doubled.min(RETRY_DELAY_MAX)
        })
        .event_callback(async |event| tracing::info!(%event, "NATS connection"));
    if let Some(user) = config.url.iter().find_map(|url| user(url.with_secret())) {
        options = match user {
            (name, Some(password)) => options.user_and_password(name, password),
            (token, None) => options.token(token),
        };
    }
    if let Some(file) = &config.token_file {
        options = options.token(secret(file, "read NATS_TOKEN_FILE")?);
    }
    if let Some(file) = &config.nkey_file {
        options = options.nkey(secret(file, "read NATS_NKEY_FILE")?);
    }
    if let Some(file) = &config.credentials_file {
        let read = options.credentials_file(file).await;
        options = read.map_err(failed("read NATS_CREDENTIALS_FILE"))?;
    }
    if let Some(file) = &config.tls_ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate_file, &config.tls_key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let tls = config.tls_ca_file.is_some() || config.tls_certificate_file.is_some();
    Ok(options.require_tls(tls))
}

fn secret(file: &Path, operation: &'static str) -> Result<String, LogError> {
    let text = std::fs::read_to_string(file).map_err(failed(operation))?;
    // Some editors write a byte order mark at the start of a file.
    Ok(text.trim_start_matches('\u{feff}').trim().to_owned())
}

/// The user name and password, or the token, that precede the host in the address.
fn user(url: &str) -> Option<(String, Option<String>)> {
    let authority = url.split_once("://")?.1;
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    let (user, _) = authority[..end].rsplit_once('@')?;
    match user.split_once(':') {
        Some((name, password)) => Some((percent_decoded(name), Some(percent_decoded(password)))),
        None => Some((percent_decoded(user), None)),
    }
}

/// Decodes percent-encoded characters such as `%40`
/// (<https://www.rfc-editor.org/rfc/rfc3986#section-2.1>).
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, code) {
            (b'%', Some(code)) => (&after[2..], bytes.push(code)),
            _ => (after, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_the_address() {
        let both = |name: &str, password: &str| Some((name.into(), Some(password.into())));
        assert_eq!(user("nats://me:se%40cret@host:1"), both("me", "se@cret"));
        assert_eq!(user("nats://me:a%zz%4@host"), both("me", "a%zz%4"));
        assert_eq!(user("tls://token@host/"), Some(("token".into(), None)));
        assert_eq!(user("nats://host/@x"), None);
    }
}
