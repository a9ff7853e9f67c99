//! The identity of an account: its key, its DID and its handle. All follow from the network's seed
//! and the account's number.
//!
//! A signed network derives DIDs as the PLC directory does
//! (<https://web.plc.directory/spec/v0.1/did-plc>): the first 24 characters of the base32 SHA-256
//! of the signed genesis operation. That operation names the account's key (k256), one rotation key
//! for the whole network, the first handle and the PDS. An unsigned network skips the key
//! arithmetic: its DIDs are the same hash over the seed and the account's number, and its accounts
//! have keys that sign nothing.

use data_encoding::BASE32_NOPAD;
use k256::ecdsa::signature::Signer;
use k256::ecdsa::{Signature, SigningKey};
use skytide_core::id::Did;

use crate::cbor::{Cbor, Digest, digest};
use crate::random::mix;
use crate::words::names;

/// The DID and the signing key of one account.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) did: Did,
    /// `None` in an unsigned network.
    key: Option<SigningKey>,
}

/// Derives the identities of a network.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    seed: u64,
    /// The key of the network's PDS, which may update the DID documents. `None` in an unsigned
    /// network.
    rotation: Option<SigningKey>,
}

/// The domain of all handles. It is reserved for examples
/// (<https://www.rfc-editor.org/rfc/rfc2606>).
pub(crate) const DOMAIN: &str = "sky.example";
/// The PDS of all accounts, as their DID documents name it.
pub(crate) const PDS: &str = "https://pds.sky.example";
/// The signature field of a commit in an unsigned network.
const NO_SIGNATURE: [u8; 64] = [0; 64];

impl Registry {
    pub(crate) fn new(seed: u64, signed: bool) -> Self {
        Self {
            seed,
            rotation: signed.then(|| secret(seed, u64::MAX)),
        }
    }

    /// The identity of an account.
    pub(crate) fn identity(&self, account: u32) -> Identity {
        let Some(rotation) = &self.rotation else {
            let did = plc(&digest(format!("{:016x} {account}", self.seed).as_bytes()));
            return Identity { did, key: None };
        };
        let key = secret(self.seed, u64::from(account));
        let (unsigned, signed) = (
            genesis(&key, rotation, &handle(account, 0), None),
            |sig: &str| genesis(&key, rotation, &handle(account, 0), Some(sig)),
        );
        let signature = data_encoding::BASE64URL_NOPAD.encode(&sign(rotation, &unsigned));
        let did = plc(&digest(&signed(&signature)));
        Identity {
            did,
            key: Some(key),
        }
    }

    /// The account's key as a `did:key`. An unsigned network has keys as well.
    pub(crate) fn did_key(&self, account: u32) -> String {
        did_key(&secret(self.seed, u64::from(account)))
    }
}

impl Identity {
    /// The signature of a commit: ECDSA over SHA-256, deterministic (RFC 6979), with the lower `s`
    /// (<https://atproto.com/specs/cryptography#ecdsa-signature-malleability>).
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key
            .as_ref()
            .map_or(NO_SIGNATURE, |key| sign(key, bytes))
    }
}

fn sign(key: &SigningKey, bytes: &[u8]) -> [u8; 64] {
    let signature: Signature = key.sign(bytes);
    signature.normalize_s().to_bytes().into()
}

/// A private key. A hash is a valid key except with a probability of about 2^-128.
fn secret(seed: u64, account: u64) -> SigningKey {
    let hash = digest(format!("key {seed:016x} {account}").as_bytes());
    SigningKey::from_slice(&hash).expect("a hash is below the order of the curve")
}

fn plc(hash: &Digest) -> Did {
    let text = BASE32_NOPAD.encode(hash).to_ascii_lowercase();
    let did = format!("did:plc:{}", &text[..24]);
    did.parse().expect("base32 characters form a valid DID")
}

fn genesis(key: &SigningKey, rotation: &SigningKey, handle: &str, sig: Option<&str>) -> Vec<u8> {
    let mut cbor = Cbor::with_capacity(400);
    cbor.map(if sig.is_some() { 7 } else { 6 });
    if let Some(sig) = sig {
        cbor.text("sig").text(sig);
    }
    cbor.text("prev").null().text("type").text("plc_operation");
    cbor.text("services").map(1).text("atproto_pds").map(2);
    cbor.text("type").text("AtprotoPersonalDataServer");
    cbor.text("endpoint").text(PDS);
    cbor.text("alsoKnownAs")
        .list(1)
        .text(&format!("at://{handle}"));
    cbor.text("rotationKeys").list(1).text(&did_key(rotation));
    cbor.text("verificationMethods").map(1);
    cbor.text("atproto").text(&did_key(key));
    cbor.0
}

/// A public key as a `did:key` (<https://atproto.com/specs/cryptography#public-key-encoding>).
pub(crate) fn did_key(key: &SigningKey) -> String {
    let point = key.verifying_key().to_sec1_point(true);
    let mut bytes = vec![0xe7, 0x01];
    bytes.extend_from_slice(point.as_bytes());
    format!("did:key:z{}", base58(&bytes))
}

/// Base58 with the Bitcoin alphabet
/// (<https://datatracker.ietf.org/doc/html/draft-msporny-base58-03>).
fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new();
    for &byte in bytes {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let digits = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
    digits
        .map(|digit| char::from(ALPHABET[usize::from(digit)]))
        .collect()
}

/// The handle of an account after this many changes.
pub(crate) fn handle(account: u32, changes: u16) -> String {
    let name = names::handle(mix(&[u64::from(account), u64::from(changes)]));
    format!("{name}-{account}.{DOMAIN}")
}

/// The account whose handle this could be. The caller checks whether it is the current one.
pub(crate) fn account_of_handle(handle: &str) -> Option<u32> {
    let label = handle.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    label.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_did_follows_from_its_key_and_an_account_from_its_handle() {
        let registry = Registry::new(1, true);
        let one = registry.identity(1);
        assert_eq!(one.did, registry.identity(1).did);
        assert_ne!(one.did, registry.identity(2).did);
        assert_ne!(one.did, Registry::new(2, true).identity(1).did);
        assert_ne!(one.did, Registry::new(1, false).identity(1).did);
        assert_eq!(account_of_handle(&handle(714, 3)), Some(714));
        assert_eq!(account_of_handle("ana-714.elsewhere.example"), None);
        assert_ne!(handle(714, 0), handle(714, 1));
    }

    fn vectors(name: &str) -> serde_json::Value {
        let folder = "../tests/fixtures/vectors/atproto-interop/crypto";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(folder)
            .join(name);
        serde_json::from_slice(&std::fs::read(path).expect(name)).expect(name)
    }

    fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
        value[key].as_str().expect(key)
    }

    #[test]
    fn keys_are_encoded_as_in_the_test_vectors() {
        for case in vectors("w3c_didkey_K256.json").as_array().unwrap() {
            let secret =
                data_encoding::HEXLOWER.decode(text(case, "privateKeyBytesHex").as_bytes());
            let key = SigningKey::from_slice(&secret.unwrap()).unwrap();
            assert_eq!(did_key(&key), text(case, "publicDidKey"));
        }
    }

    #[test]
    fn signatures_satisfy_the_rules_of_the_test_vectors() {
        use k256::ecdsa::VerifyingKey;
        use k256::ecdsa::signature::Verifier;

        let valid = |key: &VerifyingKey, message: &[u8], signature: &[u8]| {
            Signature::from_slice(signature).is_ok_and(|signature| {
                signature.normalize_s() == signature && key.verify(message, &signature).is_ok()
            })
        };
        let base64 = |text: &str| {
            let digits = text.trim_end_matches('=').as_bytes();
            data_encoding::BASE64_NOPAD.decode(digits).unwrap()
        };
        let mut cases = 0;
        for case in vectors("signature-fixtures.json").as_array().unwrap() {
            if text(case, "algorithm") != "ES256K" {
                continue;
            }
            let bytes = from_base58(text(case, "publicKeyMultibase").strip_prefix('z').unwrap());
            let key = VerifyingKey::from_sec1_bytes(&bytes).unwrap();
            let (message, signature) = (
                base64(text(case, "messageBase64")),
                base64(text(case, "signatureBase64")),
            );
            let expected = case["validSignature"].as_bool().unwrap();
            assert_eq!(
                valid(&key, &message, &signature),
                expected,
                "{}",
                text(case, "comment")
            );
            cases += 1;
        }
        assert_eq!(cases, 3);

        let registry = Registry::new(1, true);
        for account in 0..200_u32 {
            let key = secret(1, u64::from(account));
            let message = account.to_be_bytes();
            let signature = registry.identity(account).sign(&message);
            assert!(
                valid(key.verifying_key(), &message, &signature),
                "{account}"
            );
            assert!(
                !valid(key.verifying_key(), b"other", &signature),
                "{account}"
            );
        }
    }

    fn from_base58(text: &str) -> Vec<u8> {
        const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        let mut bytes: Vec<u8> = Vec::new();
        for digit in text.chars() {
            let mut carry = ALPHABET.find(digit).expect(text);
            for byte in &mut bytes {
                carry += usize::from(*byte) * 58;
                *byte = carry as u8;
                carry >>= 8;
            }
            while carry > 0 {
                bytes.push(carry as u8);
                carry >>= 8;
            }
        }
        bytes.reverse();
        bytes
    }
}
