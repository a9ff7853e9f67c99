//! Removes secrets from texts that leave the machine.
//!
//! ```text
//! known secrets: passwords in the options, contents of the files of secrets ─▶ ***
//! any URL:       user and password ─▶ ***; the query, in URLs of MongoDB and NATS ─▶ ***
//! keys of the API: the secret part ─▶ ***
//! ```

use std::path::Path;

use clap::ArgMatches;
use skytide_core::config::{Config, masked, options};
use skytide_core::port::key::{KeyParts, KeyText};

use crate::secrets;

/// What replaces a secret.
const MASK: &str = "***";
/// Minimum length of a password that is replaced wherever it occurs, in bytes. A shorter one would
/// occur by chance in any text; it is still removed from URLs.
const PASSWORD_BYTES_MIN: usize = 4;
/// The same for the value of a parameter in the query of an address, which may be a plain word.
const VALUE_BYTES_MIN: usize = 8;
/// Minimum length of a line of a file with a secret that is replaced, in bytes.
const FILE_LINE_BYTES_MIN: usize = PASSWORD_BYTES_MIN;
/// The start and the end of the first and the last line of a PEM block
/// (<https://www.rfc-editor.org/rfc/rfc7468#section-2>).
const PEM_DASHES: &str = "-----";
/// Names of parameters that have a secret as value.
const SECRET_PARAMETERS: [&str; 5] = ["password", "token", "secret", "key", "auth"];
/// Schemes of addresses whose query may have secrets.
const SERVER_SCHEMES: [&str; 4] = ["mongodb", "mongodb+srv", "nats", "tls"];

/// The secrets of a process.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// Longest first, so that a secret that contains another one is replaced as a whole.
    secrets: Vec<String>,
}

impl Masks {
    /// The secrets in the options, and in the files that they name. Reading the files may block.
    pub fn of(matches: &ArgMatches, config: &Config) -> Self {
        let mut secrets = secrets_of_options(matches);
        secrets.extend(secrets_of_files(config));
        Self::new(secrets)
    }

    /// The secrets in the options, without those in the files that they name.
    pub fn of_options(matches: &ArgMatches) -> Self {
        Self::new(secrets_of_options(matches))
    }

    /// These secrets, also in the forms that they have in JSON and in the log.
    pub fn new(mut secrets: Vec<String>) -> Self {
        let escaped: Vec<String> = secrets.iter().flat_map(|it| escaped(it)).collect();
        secrets.extend(escaped);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets.
    pub fn apply(&self, text: &str) -> String {
        let known = self.secrets.iter().fold(text.to_owned(), |text, secret| {
            match text.contains(secret.as_str()) {
                true => text.replace(secret.as_str(), MASK),
                false => text,
            }
        });
        without_keys(&without_urls(&known))
    }

    /// The same for bytes, which are text in nearly all cases.
    pub fn apply_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.apply(&String::from_utf8_lossy(bytes)).into_bytes()
    }
}

fn secrets_of_options(matches: &ArgMatches) -> Vec<String> {
    let mut secrets = Vec::new();
    for option in options().into_iter().filter(|option| option.secret) {
        let values = matches.get_raw(&option.name).into_iter().flatten();
        for value in values {
            let value = value.to_string_lossy();
            value
                .split(',')
                .for_each(|url| secrets.extend(secrets_of_url(url)));
            secrets.extend(secrets_of_url(&value));
        }
    }
    secrets
}

fn secrets_of_files(config: &Config) -> Vec<String> {
    let files = [
        &config.nats.token_file,
        &config.nats.nkey_file,
        &config.nats.credentials_file,
        &config.nats.tls_key_file,
        &config.cluster.secret_file,
    ];
    let admin_key = config.store.dir.join("admin.key");
    let files = files.into_iter().flatten().map(AsRef::<Path>::as_ref);
    let files = files.chain([admin_key.as_path()]);
    let texts = files.map(|file| secrets::contents(file).unwrap_or_default());
    texts.flat_map(|text| secrets_of_text(&text)).collect()
}

/// The lines of a file with a secret, without those that only name the kind of a PEM block.
fn secrets_of_text(text: &str) -> Vec<String> {
    let is_pem = |it: &str| it.starts_with(PEM_DASHES) && it.ends_with(PEM_DASHES);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|it| it.len() >= FILE_LINE_BYTES_MIN && !is_pem(it));
    lines.map(str::to_owned).collect()
}

/// The forms of a secret in a JSON string, and in a log line that shows a value for debugging.
fn escaped(secret: &str) -> [String; 2] {
    let json = serde_json::Value::from(secret).to_string();
    [
        json[1..json.len() - 1].to_owned(),
        secret.escape_debug().to_string(),
    ]
}

/// The secrets in an address: the password, or the user if there is no password, each also decoded;
/// and the values of the query.
fn secrets_of_url(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map(|(user, _)| user);
    let password = user.map(|user| user.split_once(':').map_or(user, |(_, password)| password));
    let mut secrets: Vec<String> = password
        .into_iter()
        .flat_map(|it| [it.to_owned(), decoded(it)])
        .filter(|it| it.len() >= PASSWORD_BYTES_MIN)
        .collect();
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let name = name.to_ascii_lowercase();
        let is_secret = SECRET_PARAMETERS.iter().any(|it| name.contains(it));
        let min = if is_secret {
            PASSWORD_BYTES_MIN
        } else {
            VALUE_BYTES_MIN
        };
        let values = [value.to_owned(), decoded(value)];
        secrets.extend(
            values
                .into_iter()
                .filter(|it| it.len() >= min && it != "admin"),
        );
    }
    secrets
}

/// Decodes percent-encoded characters.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text with user, password, and query of its URLs replaced.
fn without_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_letter = |it: char| it.is_ascii_alphanumeric() || "+-.".contains(it);
        let start = rest[..at].rfind(|it| !is_letter(it));
        let start = start.map_or(0, |it| {
            it + rest[it..].chars().next().map_or(1, char::len_utf8)
        });
        let is_end = |it: char| it.is_whitespace() || it.is_control() || "\"'`<>\\".contains(it);
        let end = rest[at..].find(is_end).map_or(rest.len(), |it| at + it);
        let (scheme, url) = (&rest[start..at], &rest[start..end]);
        out.push_str(&rest[..start]);
        let authority = rest[at + 3..end]
            .split(['/', '?', '#'])
            .next()
            .unwrap_or_default();
        let is_server = SERVER_SCHEMES.contains(&scheme.to_ascii_lowercase().as_str());
        match authority.contains('@') || (is_server && url.contains(['@', '?'])) {
            true => out.push_str(&masked(url)),
            false => out.push_str(url),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The text with the secret parts of keys of the API replaced.
fn without_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(KeyText::PREFIX) {
        let is_letter = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let key = &rest[at..];
        let end = key.find(|it| !is_letter(it)).unwrap_or(key.len());
        // Prefix and id, without the secret.
        let shown = key[..end].rfind('_').map_or(0, |it| it + 1);
        let is_key = KeyParts::parse(&key[..end]).is_some();
        out.push_str(&rest[..at]);
        match is_key {
            true => {
                out.push_str(&key[..shown]);
                out.push_str(MASK);
            }
            false => out.push_str(&key[..end]),
        }
        rest = &key[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_the_secrets_of_any_url_are_replaced() {
        let secrets = secrets_of_url("mongodb://me:p%40ssword@h/?authSource=admin&x=verysecret");
        assert_eq!(
            secrets,
            ["p%40ssword", "p@ssword", "verysecret", "verysecret"]
        );
        let masks = Masks::new(secrets);
        let text = "cannot log in as me with p@ssword (p%40ssword) at nats://u:x@h:1, \
                    \"mongodb://h/?replicaSet=rs0\", https://a.example/?q=1 and at://did:plc:a/b";
        let expected = "cannot log in as me with *** (***) at nats://***@h:1, \
                        \"mongodb://h/?replicaSet=***\", https://a.example/?q=1 and at://did:plc:a/b";
        assert_eq!(masks.apply(text), expected);
    }

    #[test]
    fn a_token_and_a_password_with_a_slash_are_replaced() {
        let masks = Masks::new(secrets_of_url("nats://t0ken@h"));
        assert_eq!(masks.apply("t0ken"), MASK);
        let masks = Masks::new(secrets_of_url("mongodb://me:a/b/c/d@h"));
        assert_eq!(masks.apply("xa/b/c/dx"), "x***x");
    }

    #[test]
    fn lines_of_files_are_replaced_in_every_form() {
        let text = "-----BEGIN KEY-----\n-a\"b\\c\nabcd\nabc\n-----END KEY-----\n";
        let secrets = secrets_of_text(text);
        assert_eq!(secrets, ["-a\"b\\c", "abcd"]);
        let masks = Masks::new(secrets);
        let json = serde_json::json!({ "a": "x-a\"b\\cx" }).to_string();
        assert_eq!(masks.apply(&json), r#"{"a":"x***x"}"#);
        assert_eq!(masks.apply(&format!("{:?}", "-a\"b\\c")), "\"***\"");
        assert_eq!(masks.apply("abcd abc -a\"b\\c"), "*** abc ***");
    }
}
