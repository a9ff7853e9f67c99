//! The keys of the API: where a process finds them, and the admin key in the data folder.
//!
//! ```text
//! MONGODB_URI unset   STORE_DIR/keys.json          KeyFile
//! MONGODB_URI set     the collection api_keys      MongoKeys
//! always              STORE_DIR/admin.key          added by WithAdminKey
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ring::rand::{SecureRandom, SystemRandom};
use skytide_core::config::Config;
use skytide_core::port::key::{KeyError, KeyId, KeyParts, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::time::Timestamp;
use skytide_embedded::{AdminKeyFile, KeyFile};
use tokio::sync::Mutex;

use crate::data;
use crate::failure::Failure;

/// Opens the keys for `skytide keys`. This works while other processes use the views.
///
/// # Errors
///
/// MongoDB cannot be reached, or the binary was built without it.
pub async fn open_keys(config: &Config) -> Result<Arc<dyn KeyStore>, Failure> {
    if config.mongo.uri.is_some() {
        return data::open_mongodb_keys(config).await;
    }
    Ok(Arc::new(KeyFile::new(&config.store.dir)))
}

/// Random bytes of the operating system.
///
/// # Errors
///
/// The operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// Writes `STORE_DIR/admin.key` if there is none. If that fails, only the admin routes are not
/// available.
pub fn create_admin_key(folder: &Path) -> AdminKeyFile {
    let file = AdminKeyFile::new(folder);
    let path = file.path().display().to_string();
    let created = random().and_then(|secret| {
        let key = KeyText::new(&KeyId::admin(), secret);
        let created = file.create(&key);
        created.map_err(|why| Failure::because("cannot write the file", why))
    });
    match created {
        Ok(true) => tracing::info!(path, "wrote a new admin key"),
        Ok(false) => {}
        Err(error) => tracing::warn!(
            path,
            error = &error as &dyn std::error::Error,
            "cannot create the admin key: the admin routes are not available"
        ),
    }
    file
}

/// The keys of a store and the admin key of this process.
pub struct WithAdminKey {
    keys: Arc<dyn KeyStore>,
    admin: Arc<AdminKey>,
    /// Held while the file is read: a disk that does not answer blocks one thread, not one a second.
    reading: Arc<Mutex<()>>,
}

/// The file with the admin key.
struct AdminKey {
    file: AdminKeyFile,
    /// Whether the last read of the file found a problem, which is logged once.
    reported: AtomicBool,
}

impl WithAdminKey {
    /// Adds the key in this file to the keys of `keys`. The file is read again whenever the keys
    /// are.
    pub fn new(keys: Arc<dyn KeyStore>, file: AdminKeyFile) -> Self {
        let reported = AtomicBool::new(false);
        Self {
            keys,
            admin: Arc::new(AdminKey { file, reported }),
            reading: Arc::default(),
        }
    }
}

impl AdminKey {
    /// The admin key; `None` if the file does not exist or has no key.
    fn read(&self) -> Option<StoredKey> {
        let (key, problem) = match self.file.read() {
            Ok(None) => (None, None),
            Ok(Some(text)) => match KeyParts::parse(&text).filter(is_admin) {
                Some(parts) => {
                    let exposed = "other users may read it: run `chmod 600` on it";
                    let exposed = self.file.is_exposed().then(|| exposed.to_owned());
                    (Some(admin_key(&parts)), exposed)
                }
                None => {
                    let why = "it has no admin key: remove it, and the next start writes a new one";
                    (None, Some(why.to_owned()))
                }
            },
            Err(why) => (None, Some(why.to_string())),
        };
        let was_reported = self.reported.swap(problem.is_some(), Ordering::Relaxed);
        if let (Some(problem), false) = (problem, was_reported) {
            let path = self.file.path().display().to_string();
            tracing::warn!(path, problem, "the file with the admin key has a problem");
        }
        key
    }
}

fn is_admin(parts: &KeyParts<'_>) -> bool {
    parts.id == KeyId::ADMIN
}

/// The key of the person who runs the server: it may do everything, without a limit.
fn admin_key(parts: &KeyParts<'_>) -> StoredKey {
    StoredKey {
        id: KeyId::admin(),
        hash: parts.hash(),
        label: "STORE_DIR/admin.key".to_owned(),
        scopes: Scope::ALL.to_vec(),
        created: Timestamp(0),
        expires: None,
        rate: Some(0),
        burst: None,
        revoked: None,
        last_used: None,
    }
}

#[async_trait]
impl KeyStore for WithAdminKey {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        let mut keys = self.keys.all().await?;
        let admin = self.admin.clone();
        let turn = self.reading.clone().lock_owned().await;
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            admin.read()
        });
        let admin = read.await.map_err(|why| KeyError::Failed {
            operation: "wait for the blocking thread",
            source: why.into(),
        })?;
        // No stored key may pose as the admin key.
        keys.retain(|key| key.id.as_str() != KeyId::ADMIN);
        keys.extend(admin);
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(keys)
    }

    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.keys.add(key).await
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        self.keys.revoke(id, now).await
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        let is_stored = |(id, _): &&(KeyId, Timestamp)| id.as_str() != KeyId::ADMIN;
        let used: Vec<_> = used.iter().filter(is_stored).cloned().collect();
        match used.is_empty() {
            true => Ok(()),
            false => self.keys.note_used(&used).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::memory::MemoryKeys;

    #[tokio::test]
    async fn the_admin_key_follows_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = create_admin_key(folder.path());
        let keys = WithAdminKey::new(Arc::new(MemoryKeys::default()), file.clone());
        let text = file.read().expect("read").expect("a key");
        let hash = KeyParts::parse(&text).expect("a key").hash();
        let all = keys.all().await.expect("read");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].id.as_str(), all[0].hash), ("admin", hash));
        assert!(Scope::ALL.iter().all(|scope| all[0].allows(*scope)));

        let other = KeyText::new(&KeyId::admin(), [3; 32]);
        std::fs::write(file.path(), other.reveal()).expect("written");
        assert_eq!(keys.all().await.expect("read")[0].hash, other.hash());
        for text in ["", "secret", &other.reveal()[..61]] {
            std::fs::write(file.path(), text).expect("written");
            assert_eq!(keys.all().await.expect("read"), [], "{text}");
        }
        std::fs::remove_file(file.path()).expect("removed");
        assert_eq!(keys.all().await.expect("read"), []);
        // The next start writes another key.
        let file = create_admin_key(folder.path());
        assert_ne!(file.read().expect("read").expect("a key"), text);
        let used = [(KeyId::admin(), Timestamp(1))];
        keys.note_used(&used).await.expect("ignored");
    }
}
