//! `skytide keys`: adds, lists and revokes keys of the API.

use skytide_core::config::Config;
use skytide_core::port::clock::Clock;
use skytide_core::port::key::{KeyId, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::keys::{Action, Add, Keys, Revoke};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::keys::{open_keys, random};
use crate::terminal::{note, say};

/// Maximum edit distance between an unknown id and the id that is suggested for it.
const TYPO_EDITS_MAX: usize = 3;

/// Runs the command, unless `stop` is cancelled first.
///
/// # Errors
///
/// The keys cannot be read or written, or there is no such key.
pub async fn run(keys: &Keys, stop: CancellationToken) -> Result<(), Failure> {
    let work = async {
        let config = keys.config();
        let store = open_keys(config).await?;
        let place = place(config);
        match &keys.action {
            Action::Add(args) => add(args, &*store, &place).await,
            Action::List(_) => list(&*store, &place).await,
            Action::Revoke(args) => revoke(args, &*store, &place).await,
        }
    };
    let done = stop.run_until_cancelled(work).await;
    done.unwrap_or_else(|| {
        Err(Failure::new(
            "interrupted: `skytide keys list` shows the keys",
        ))
    })
}

/// Where the keys are, in words.
fn place(config: &Config) -> String {
    match config.mongo.uri {
        Some(_) => "on MongoDB".to_owned(),
        None => format!("in {}", config.store.dir.display()),
    }
}

async fn add(args: &Add, store: &dyn KeyStore, place: &str) -> Result<(), Failure> {
    let now = SystemClock.now();
    let id = KeyId::from_random(u64::from_ne_bytes(random()?));
    let text = KeyText::new(&id, random()?);
    let mut scopes = args.scope.clone();
    scopes.sort_unstable();
    scopes.dedup();
    let expires = args.expires.map(|expires| expires.from(now));
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::new("--expires is in the past"));
    }
    let key = StoredKey {
        id,
        hash: text.hash(),
        label: args.label.clone(),
        scopes,
        created: now,
        expires,
        rate: args.rate,
        burst: args.burst,
        revoked: None,
        last_used: None,
    };
    let added = store.add(&key).await;
    added.map_err(|why| Failure::because(format!("cannot add the key {place}"), why))?;
    say(text.reveal());
    let until = expires.map_or_else(String::new, |time| format!(", until {}", time.rfc3339()));
    note(&format!(
        "The key {} is stored {place} as a hash, so this is the only time it is shown. It allows \
         {}{until}. Send it in the header X-API-Key.",
        key.id,
        scope_names(&key.scopes)
    ));
    Ok(())
}

async fn list(store: &dyn KeyStore, place: &str) -> Result<(), Failure> {
    let keys = store.all().await;
    let keys =
        keys.map_err(|why| Failure::because(format!("cannot read the keys {place}"), why))?;
    if keys.is_empty() {
        note(&format!(
            "There are no keys {place}. `skytide keys add --label NAME` makes one."
        ));
        return Ok(());
    }
    let head = [
        "ID",
        "LABEL",
        "SCOPES",
        "LIMIT",
        "CREATED",
        "LAST USED",
        "STATE",
    ];
    let now = SystemClock.now();
    let rows = keys.iter().map(|key| row(key, now));
    let rows: Vec<[String; 7]> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        })
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, &width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(())
}

fn row(key: &StoredKey, now: Timestamp) -> [String; 7] {
    let limit = match (key.rate, key.burst) {
        (None, None) => "default".to_owned(),
        (Some(0), _) => "none".to_owned(),
        (rate, burst) => {
            let number = |number: Option<u32>| number.map_or("default".into(), |it| it.to_string());
            format!("{}/s, burst {}", number(rate), number(burst))
        }
    };
    let state = match (key.revoked, key.expires) {
        (Some(revoked), _) => format!("revoked {}", minute(revoked)),
        (None, Some(expires)) if expires <= now => format!("expired {}", minute(expires)),
        (None, Some(expires)) => format!("valid until {}", minute(expires)),
        (None, None) => "valid".to_owned(),
    };
    [
        key.id.to_string(),
        key.label.clone(),
        scope_names(&key.scopes),
        limit,
        minute(key.created),
        key.last_used.map_or("never".to_owned(), minute),
        state,
    ]
}

/// A time to the minute, such as `2026-11-30 10:15Z`.
fn minute(time: Timestamp) -> String {
    let text = time.rfc3339();
    format!("{} {}Z", &text[..10], &text[11..16])
}

fn scope_names(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    names.join(",")
}

async fn revoke(args: &Revoke, store: &dyn KeyStore, place: &str) -> Result<(), Failure> {
    let id = &args.id;
    if id.as_str() == KeyId::ADMIN {
        return Err(Failure::new(
            "the admin key is in STORE_DIR/admin.key: remove that file, and the next start writes \
             a new key",
        ));
    }
    let before = store.revoke(id, SystemClock.now()).await;
    let before = before
        .map_err(|why| Failure::because(format!("cannot revoke the key {id} {place}"), why))?;
    match before {
        None => Err(unknown(id, store, place).await),
        Some(StoredKey {
            revoked: Some(time),
            ..
        }) => {
            say(&format!(
                "The key {id} was already revoked at {}.",
                time.rfc3339()
            ));
            Ok(())
        }
        Some(key) => {
            say(&format!(
                "Revoked the key {id} ({}). Every process refuses it within five seconds.",
                key.label
            ));
            Ok(())
        }
    }
}

/// The failure for an id that no key has. Names the most similar one.
async fn unknown(id: &KeyId, store: &dyn KeyStore, place: &str) -> Failure {
    let keys = store.all().await.unwrap_or_default();
    let near = keys.iter().filter_map(|key| {
        let edits = strsim::damerau_levenshtein(id.as_str(), key.id.as_str());
        (edits <= TYPO_EDITS_MAX).then_some((edits, &key.id))
    });
    let hint = near.min().map_or_else(
        || "`skytide keys list` shows all keys".to_owned(),
        |(_, near)| format!("did you mean {near}?"),
    );
    Failure::new(format!("there is no key {id} {place}; {hint}"))
}
