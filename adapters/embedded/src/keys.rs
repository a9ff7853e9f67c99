//! The keys of the API in one file: `data/keys.json`. Unlike everything else in the data folder, it
//! may be changed while another process runs on the folder, so that `skytide keys` works beside
//! `skytide up`.
//!
//! ```text
//! keys.json        the keys, replaced as a whole      written under keys.lock by any process
//! keys.used.json   when each key was last used        written by the process that serves the API
//! keys.lock        held for one change                advisory lock, empty
//! ```
//!
//! The lock on the view store does not protect these files, and readers take no lock: a rename
//! replaces the file, so they read the old file or the new one. `keys.json` has a checksum, because
//! a damaged file must not make a revoked key valid again.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use skytide_core::port::BoxError;
use skytide_core::port::key::{KeyError, KeyId, KeyStore, StoredKey};
use skytide_core::time::Timestamp;
use tokio::sync::Mutex as Turn;

use super::folder::make_folder;
use super::private::{open_private, read_bounded, replace_private};

/// Version of the format of both files.
const FORMAT: u32 = 1;
const KEYS: &str = "keys.json";
const USED: &str = "keys.used.json";
const LOCK: &str = "keys.lock";
/// How long a change waits for another process that holds the lock. That process holds it for one
/// write of the file.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Maximum length of `keys.json` and of `keys.used.json` in bytes. 10,000 keys with the longest labels
/// have 10 MB.
const BYTES_MAX: u64 = 32 << 20;

type Keys = BTreeMap<KeyId, StoredKey>;

/// A [`KeyStore`] in a data folder. Clones share one store.
#[derive(Clone, Debug)]
pub struct KeyFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// The content of `keys.json` that was read last, and its keys: parsing 10,000 keys each second
    /// would be wasteful.
    parsed: Mutex<Option<(Vec<u8>, Arc<Keys>)>>,
    /// Held while the files are read. A read of a disk that does not answer blocks its thread; the
    /// next ones wait for it without a thread, until their caller gives up.
    reading: Arc<Turn<()>>,
    /// Held while `keys.used.json` is written.
    noting: Arc<Turn<()>>,
    /// Whether the last read of `keys.used.json` found damage, which is logged once.
    used_is_damaged: AtomicBool,
}

/// `keys.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    format: u32,
    /// CRC-32 of the text of `keys`, 8 hexadecimal digits.
    crc32: String,
    #[serde(borrow)]
    keys: &'a RawValue,
}

/// `keys.used.json`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    format: u32,
    used: BTreeMap<KeyId, Timestamp>,
}

impl KeyFile {
    /// The keys in this folder. Neither the folder nor the files need exist.
    pub fn new(folder: &Path) -> Self {
        Self(Arc::new(Shared {
            folder: folder.to_owned(),
            parsed: Mutex::default(),
            reading: Arc::default(),
            noting: Arc::default(),
            used_is_damaged: AtomicBool::new(false),
        }))
    }

    /// Runs work that blocks on files.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let shared = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl KeyStore for KeyFile {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        let turn = self.0.reading.clone().lock_owned().await;
        self.blocking(move |shared| {
            let _turn = turn;
            let keys = shared.read()?;
            let used = shared.read_used();
            let with_use = |key: &StoredKey| StoredKey {
                last_used: used.get(&key.id).copied(),
                ..key.clone()
            };
            Ok(keys.values().map(with_use).collect())
        })
        .await
    }

    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        let key = StoredKey {
            last_used: None,
            ..key.clone()
        };
        self.blocking(move |shared| shared.change(|keys| StoredKey::add_to(keys, &key)))
            .await
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        let id = id.clone();
        self.blocking(move |shared| {
            let last_used = shared.read_used().get(&id).copied();
            let before = shared.change(|keys| Ok(StoredKey::revoke_in(keys, &id, now)))?;
            Ok(before.map(|key| StoredKey { last_used, ..key }))
        })
        .await
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        let used = used.to_vec();
        let turn = self.0.noting.clone().lock_owned().await;
        self.blocking(move |shared| {
            let _turn = turn;
            shared.note_used(&used)
        })
        .await
    }
}

impl Shared {
    /// Reads and checks `keys.json`. A missing file counts as an empty one.
    fn read(&self) -> Result<Arc<Keys>, KeyError> {
        let path = self.folder.join(KEYS);
        let content = read_bounded(&path, BYTES_MAX).map_err(failed_at("read", &path))?;
        let Some(content) = content else {
            return Ok(Arc::default());
        };
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, keys)) = &*parsed
            && *of == content
        {
            return Ok(keys.clone());
        }
        let keys = parse(&content).map_err(|why| {
            let path = path.display();
            KeyError::Damaged(format!(
                "{path}: {why}; restore it from a backup and revoke again the keys that were \
                 revoked since (`skytide keys list`), or remove it (then no key is valid, and \
                 `skytide keys add` makes new ones)"
            ))
        })?;
        let keys = Arc::new(keys);
        *parsed = Some((content, keys.clone()));
        Ok(keys)
    }

    /// Applies a change to the keys under the lock, and writes the file if they differ.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        make_folder(&self.folder).map_err(failed_at("create", &self.folder))?;
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut keys = Keys::clone(&before);
        let answer = change(&mut keys)?;
        if keys != *before {
            let content = encode(&keys)?;
            self.replace(KEYS, content.as_bytes())?;
        }
        Ok(answer)
    }

    /// Takes the lock for changes of `keys.json`. It is released when the file is dropped.
    fn lock(&self) -> Result<File, KeyError> {
        let path = self.folder.join(LOCK);
        let lock = open_private(&path).map_err(failed_at("open", &path))?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT_MAX => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(failed_at("lock", &path)(
                        "another process holds the lock: is a `skytide keys` suspended?",
                    ));
                }
                Err(TryLockError::Error(why)) => return Err(failed_at("lock", &path)(why)),
            }
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), KeyError> {
        let path = self.folder.join(name);
        replace_private(&path, |file| file.write_all(content)).map_err(failed_at("write", &path))
    }

    /// When keys were last used. These times only inform, so a damaged file counts as empty, and
    /// the next write replaces it.
    fn read_used(&self) -> BTreeMap<KeyId, Timestamp> {
        let path = self.folder.join(USED);
        let used = read_bounded(&path, BYTES_MAX)
            .map_err(BoxError::from)
            .and_then(|json| match json {
                Some(json) => serde_json::from_slice::<Used>(&json).map_err(Into::into),
                None => Ok(Used::default()),
            });
        let was_damaged = self.used_is_damaged.swap(used.is_err(), Ordering::Relaxed);
        match used {
            Ok(Used { format, used }) if format == FORMAT => used,
            Ok(_) => BTreeMap::new(),
            Err(why) => {
                if !was_damaged {
                    tracing::warn!(
                        error = &*why,
                        "cannot read {}: it is replaced when a key is used",
                        path.display()
                    );
                }
                BTreeMap::new()
            }
        }
    }

    fn note_used(&self, noted: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        let keys = self.read()?;
        let mut used = self.read_used();
        for (id, time) in noted {
            let last = used.entry(id.clone()).or_default();
            *last = (*last).max(*time);
        }
        used.retain(|id, _| keys.contains_key(id));
        let used = Used {
            format: FORMAT,
            used,
        };
        let json = serde_json::to_vec_pretty(&used).map_err(failed("encode"))?;
        self.replace(USED, &json)
    }
}

/// One line for each key, so that the file can be read.
fn encode(keys: &Keys) -> Result<String, KeyError> {
    let lines: Result<Vec<String>, _> = keys.values().map(serde_json::to_string).collect();
    let lines = lines.map_err(failed("encode"))?;
    let keys = format!("[\n{}\n]", lines.join(",\n"));
    let crc32 = crc32fast::hash(keys.as_bytes());
    Ok(format!(
        "{{\"format\": {FORMAT}, \"crc32\": \"{crc32:08x}\", \"keys\": {keys}}}\n"
    ))
}

fn parse(content: &[u8]) -> Result<Keys, String> {
    let text = std::str::from_utf8(content).map_err(|why| why.to_string())?;
    let content: Content<'_> = serde_json::from_str(text).map_err(|why| why.to_string())?;
    if content.format != FORMAT {
        return Err(format!(
            "it has format {}, this program needs format {FORMAT}",
            content.format
        ));
    }
    let crc32 = crc32fast::hash(content.keys.get().as_bytes());
    if content.crc32 != format!("{crc32:08x}") {
        return Err("its checksum does not match its keys".to_owned());
    }
    let keys: Vec<StoredKey> =
        serde_json::from_str(content.keys.get()).map_err(|why| why.to_string())?;
    let count = keys.len();
    let keys: Keys = keys.into_iter().map(|key| (key.id.clone(), key)).collect();
    match keys.len() == count {
        true => Ok(keys),
        false => Err("it has two keys with the same id".to_owned()),
    }
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> KeyError {
    move |source| KeyError::Failed {
        operation,
        source: source.into(),
    }
}

/// Like [`failed`], and the cause names the file.
fn failed_at<E: Into<BoxError>>(
    operation: &'static str,
    path: &Path,
) -> impl Fn(E) -> KeyError + use<E> {
    let path = path.display().to_string();
    move |source| {
        let source: BoxError = source.into();
        failed(operation)(format!("{path}: {source}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::port::key::{KeyHash, Scope};
    use std::fs;

    fn key(bits: u64) -> StoredKey {
        StoredKey {
            id: KeyId::from_random(bits),
            hash: KeyHash([7; 32]),
            label: "a \"label\"\n".to_owned(),
            scopes: vec![Scope::Read],
            created: Timestamp(1),
            expires: None,
            rate: Some(5),
            burst: None,
            revoked: None,
            last_used: None,
        }
    }

    #[tokio::test]
    async fn processes_on_one_folder_see_each_others_changes_and_lose_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/data");
        let changes = (0..40).map(|bits| {
            let keys = KeyFile::new(&path);
            tokio::spawn(async move { keys.add(&key(bits)).await })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.expect("no panic").expect("added");
        }
        let (one, other) = (KeyFile::new(&path), KeyFile::new(&path));
        assert_eq!(one.all().await.expect("read").len(), 40);
        let id = KeyId::from_random(3);
        other.revoke(&id, Timestamp(9)).await.expect("revoked");
        let all = one.all().await.expect("read");
        let revoked: Vec<_> = all.iter().filter(|key| key.revoked.is_some()).collect();
        assert_eq!(revoked.len(), 1);
        assert_eq!(revoked[0].id, id);
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_that_names_the_file_and_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFile::new(folder.path());
        keys.add(&key(1)).await.expect("added");
        keys.revoke(&key(1).id, Timestamp(5))
            .await
            .expect("revoked");
        let path = folder.path().join(KEYS);
        let content = fs::read_to_string(&path).expect("read");
        let damages = [
            content.replace(",\"revoked\":5", ""),
            content.replace("\"revoked\":5", "\"revoked\":null"),
            content.replace("0707", "0708"),
            content.replace("\"format\": 1", "\"format\": 2"),
            content[..content.len() / 2].to_owned(),
            String::new(),
            "{}".to_owned(),
        ];
        for damaged in damages {
            assert_ne!(damaged, content);
            fs::write(&path, &damaged).expect("written");
            for keys in [&keys, &KeyFile::new(folder.path())] {
                let why = keys.all().await.expect_err("damaged").to_string();
                assert!(
                    why.contains("keys.json") && why.contains("remove it"),
                    "{why}"
                );
                assert!(keys.add(&key(2)).await.is_err(), "{damaged}");
            }
            assert_eq!(fs::read_to_string(&path).expect("read"), damaged);
        }
        fs::write(&path, &content).expect("written");
        assert_eq!(keys.all().await.expect("read").len(), 1);
    }

    #[tokio::test]
    async fn last_uses_are_in_a_file_of_their_own_whose_damage_is_harmless() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFile::new(folder.path());
        keys.add(&key(1)).await.expect("added");
        let before = fs::read(folder.path().join(KEYS)).expect("read");
        let used = [(key(1).id, Timestamp(77)), (key(2).id, Timestamp(78))];
        keys.note_used(&used).await.expect("noted");
        assert_eq!(
            keys.all().await.expect("read")[0].last_used,
            Some(Timestamp(77))
        );
        assert_eq!(fs::read(folder.path().join(KEYS)).expect("read"), before);
        fs::write(folder.path().join(USED), "{").expect("written");
        assert_eq!(keys.all().await.expect("read")[0].last_used, None);
        keys.note_used(&used).await.expect("noted");
        assert_eq!(
            keys.all().await.expect("read")[0].last_used,
            Some(Timestamp(77))
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_may_read_the_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyFile::new(folder.path());
        // A file that a crash left behind.
        fs::write(folder.path().join("keys.json.new"), "old").expect("written");
        keys.add(&key(1)).await.expect("added");
        keys.note_used(&[(key(1).id, Timestamp(1))])
            .await
            .expect("noted");
        for name in [KEYS, USED, LOCK] {
            let mode = fs::metadata(folder.path().join(name))
                .expect(name)
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
    }
}
