//! Keys of the API: who may call which routes. `skytide keys` adds and revokes them; the API checks
//! them.
//!
//! ```text
//! sky_<id>_<secret>     id: 10 characters, public      secret: 52 characters, 256 random bits
//! ```
//!
//! Both parts are base32 ([`crate::base32`]). A store keeps the id and the SHA-256 of the secret,
//! never the secret. A slow password hash would add nothing: nobody can guess 256 random bits, and
//! everybody could make the server compute slow hashes.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::BoxError;
use crate::base32;
use crate::time::Timestamp;

/// Maximum number of stored keys. It bounds the memory and the time of [`KeyStore::all`].
pub const KEYS_MAX: usize = 10_000;
/// Maximum length of a label in bytes.
pub const LABEL_BYTES_MAX: usize = 100;
/// How long a key stays listed after it was revoked or expired. [`KeyStore::add`] removes older
/// ones.
pub const KEEP_ENDED_MS: u64 = 90 * 86_400_000;

const PREFIX: &str = "sky_";
const ID_CHARACTERS: usize = 10;
const SECRET_CHARACTERS: usize = 52;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read the views.
    Read,
    /// Open live streams.
    Live,
    /// Call the admin routes.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Read, Self::Live, Self::Admin];

    /// The name, such as `read`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Live => "live",
            Self::Admin => "admin",
        }
    }

    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The public part of a key, by which it is looked up, listed and revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Box<str>);

impl KeyId {
    /// The id of the key in `STORE_DIR/admin.key`.
    pub const ADMIN: &'static str = "admin";

    /// The id of the key in `STORE_DIR/admin.key`. [`KeyId::from_random`] never returns it.
    pub fn admin() -> Self {
        Self(Self::ADMIN.into())
    }

    /// An id of 50 random bits: the lowest ones of `bits`.
    pub fn from_random(bits: u64) -> Self {
        let digits = (0..ID_CHARACTERS).map(|i| base32::digit(bits >> (5 * i)) as char);
        Self(digits.collect::<String>().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        text == Self::ADMIN || (text.len() == ID_CHARACTERS && is_base32(text))
    }
}

/// The text is not the id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 10 characters of 2-7 and a-z, such as 3ir4kq33qn")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        match Self::is_valid(text) {
            true => Ok(Self(text.into())),
            false => Err(InvalidKeyId),
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;

    fn try_from(text: String) -> Result<Self, InvalidKeyId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0.into()
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_base32(text: &str) -> bool {
    text.bytes().all(|byte| base32::value(byte).is_some())
}

/// The text of a new key. It is shown to the operator once and not stored.
#[derive(Clone)]
pub struct KeyText(String);

impl KeyText {
    /// How the text of every key starts.
    pub const PREFIX: &str = PREFIX;

    /// The text of a key with this id; `secret` are random bytes.
    pub fn new(id: &KeyId, secret: [u8; 32]) -> Self {
        let bit = |i: usize| u64::from(secret.get(i / 8).map_or(0, |byte| byte >> (7 - i % 8) & 1));
        let digit = |i: usize| (0..5).fold(0, |bits, j| bits << 1 | bit(5 * i + j));
        let digits = (0..SECRET_CHARACTERS).map(|i| base32::digit(digit(i)) as char);
        Self(format!("{PREFIX}{id}_{}", digits.collect::<String>()))
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The hash that a store keeps.
    pub fn hash(&self) -> KeyHash {
        KeyParts::parse(&self.0)
            .expect("the text was made by `new`")
            .hash()
    }
}

/// Hides the secret.
impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(***)")
    }
}

/// The parts of a key as a client sent it.
#[derive(Clone, Copy)]
pub struct KeyParts<'a> {
    /// The id.
    pub id: &'a str,
    secret: &'a str,
}

impl<'a> KeyParts<'a> {
    /// Parses a key. `None` for any other form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_valid =
            KeyId::is_valid(id) && secret.len() == SECRET_CHARACTERS && is_base32(secret);
        is_valid.then_some(Self { id, secret })
    }

    /// The hash of the secret.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.secret.as_bytes()).into())
    }
}

/// SHA-256 of the 52 characters of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Whether both are equal. The time does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses 64 hexadecimal digits in lower case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return None;
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", &self.to_hex()[..8])
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| {
            serde::de::Error::custom("a hash is 64 hexadecimal digits in lower case")
        })
    }
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// Its public part.
    pub id: KeyId,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// What the operator wrote to recognize it, at most [`LABEL_BYTES_MAX`] bytes.
    pub label: String,
    /// What it allows, in ascending order.
    pub scopes: Vec<Scope>,
    /// When it was added.
    pub created: Timestamp,
    /// From when on it is refused; `None` if it never expires.
    pub expires: Option<Timestamp>,
    /// Its own limit in units per second; `None`: the limit that all keys have; 0: no limit.
    pub rate: Option<u32>,
    /// The units that it may use at once; `None`: those that all keys may use.
    pub burst: Option<u32>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// When it was last used, accurate to a minute.
    pub last_used: Option<Timestamp>,
}

impl StoredKey {
    /// Whether it has a scope.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it is neither revoked nor expired.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it was revoked or expired at least [`KEEP_ENDED_MS`] before `now`.
    pub fn is_forgotten_at(&self, now: Timestamp) -> bool {
        let ended = [self.revoked, self.expires].into_iter().flatten().min();
        ended.is_some_and(|ended| ended.0.saturating_add(KEEP_ENDED_MS) <= now.0)
    }
}

/// A store of keys. All processes that serve the API on one store see the same keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// All keys, ordered by id; at most [`KEYS_MAX`]. A key that was added or revoked before this
    /// call started is read as added or revoked.
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError>;

    /// Adds a key, durably. First removes the keys that are
    /// [forgotten](StoredKey::is_forgotten_at) when `key` is created.
    ///
    /// # Errors
    /// `Exists` if there is a key with this id, `Full` if there are [`KEYS_MAX`] keys.
    async fn add(&self, key: &StoredKey) -> Result<(), KeyError>;

    /// Revokes a key at `now`, durably. Returns the key as it was before; `None` if there is none
    /// with this id. A key that was revoked before keeps its time.
    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError>;

    /// Records when keys were last used. Unknown ids are ignored, and so is a time before the
    /// recorded one. It need not be durable when it returns.
    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError>;
}

/// Why keys were not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The stored bytes are not the ones that were written. An operator must investigate.
    #[error("the stored keys are damaged: {0}")]
    Damaged(String),
    /// There is a key with this id.
    #[error("there is a key with the id {0}")]
    Exists(KeyId),
    /// There are [`KEYS_MAX`] keys.
    #[error(
        "there are {KEYS_MAX} keys, the maximum: a key makes room 90 days after it was revoked or \
         expired"
    )]
    Full,
    /// The operation failed; it may or may not have taken effect. The caller may retry.
    #[error("the key store could not {operation}")]
    Failed {
        /// The operation, for example `write`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_key_has_its_id_and_its_secret_and_nothing_else_is_a_key() {
        let id = KeyId::from_random(0);
        assert_eq!(id.as_str(), "2222222222");
        let text = KeyText::new(&id, [0xff; 32]);
        // 51 groups of five ones, then the last bit and four zeros.
        let secret = format!("{}k", "z".repeat(51));
        assert_eq!(text.reveal(), format!("sky_2222222222_{secret}"));
        let parts = KeyParts::parse(text.reveal()).expect("a key");
        assert_eq!(parts.id, "2222222222");
        assert!(parts.hash().matches(&text.hash()));
        let other = KeyText::new(&id, [0xfe; 32]);
        assert!(!parts.hash().matches(&other.hash()));
        let upper = secret.to_uppercase();
        for text in [
            "",
            "sky_",
            "sky_2222222222_",
            &format!("sky_2222222222_{upper}"),
            &format!("sky_222222222_{secret}"),
            &format!("sky_2222222221_{secret}"),
            &format!("sky_2222222222_{secret}a"),
            &format!("sky_2222222222_{secret} "),
            &format!("key_2222222222_{secret}"),
            &format!("sky_2222222222_{}ü", &secret[2..]),
        ] {
            assert!(KeyParts::parse(text).is_none(), "{text:?}");
        }
    }

    /// The expected digest is that of `printf 'z…zk' | sha256sum`.
    #[test]
    fn the_hash_is_the_sha_256_of_the_secret() {
        let text = KeyText::new(&KeyId::from_random(7), [0xff; 32]);
        let hash = "99702dd6e39acd07a0c131310a3b2f11033fb783c29019380a2b940e61eca86e";
        assert_eq!(text.hash().to_hex(), hash);
        assert_eq!(KeyHash::from_hex(hash), Some(text.hash()));
        assert_eq!(KeyHash::from_hex(&hash.to_uppercase()), None);
        assert_eq!(KeyHash::from_hex(&hash[1..]), None);
        assert!(!format!("{text:?}").contains('z'));
    }

    #[test]
    fn a_key_ends_when_it_expires_or_is_revoked_and_is_forgotten_90_days_later() {
        let mut key = StoredKey {
            id: KeyId::admin(),
            hash: KeyHash([0; 32]),
            label: String::new(),
            scopes: vec![Scope::Read],
            created: Timestamp(0),
            expires: Some(Timestamp(100)),
            rate: None,
            burst: None,
            revoked: None,
            last_used: None,
        };
        assert!(key.is_valid_at(Timestamp(99)) && !key.is_valid_at(Timestamp(100)));
        assert!(!key.is_forgotten_at(Timestamp(99 + KEEP_ENDED_MS)));
        assert!(key.is_forgotten_at(Timestamp(100 + KEEP_ENDED_MS)));
        key.revoked = Some(Timestamp(50));
        assert!(!key.is_valid_at(Timestamp(51)));
        assert!(key.is_forgotten_at(Timestamp(50 + KEEP_ENDED_MS)));
    }
}
