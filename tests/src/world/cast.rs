//! The accounts and record keys of a world. The pools are small, so that the same accounts and keys
//! are used repeatedly.

use skytide_core::id::{Did, Tid};

use super::random::Random;

/// Accounts and record keys.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    /// The accounts that write, followed by accounts that never write and only occur as subjects.
    accounts: Vec<Did>,
    writers: usize,
    rkeys: Vec<String>,
}

impl Cast {
    /// A cast of `writers` accounts, a few more that never write, and `rkeys` record keys per
    /// collection.
    pub(super) fn new(writers: usize, rkeys: usize, random: &mut Random) -> Self {
        let account = |place: usize, random: &mut Random| match place % 5 {
            3 => format!("did:web:host-{place}.example.com")
                .parse()
                .expect("a DID"),
            4 => format!("did:key:z6Mk{place}").parse().expect("a DID"),
            _ => {
                let mut packed = [0; 15];
                packed[..8].copy_from_slice(&random.bits().to_be_bytes());
                Did::from_plc(packed)
            }
        };
        let accounts = (0..writers + 2)
            .map(|place| account(place, random))
            .collect();
        let rkey = |place: usize| match place % 6 {
            5 => format!("key~{place}:x"),
            _ => Tid((1_750_000_000_000_000 + place as u64) << 10).to_string(),
        };
        Self {
            accounts,
            writers,
            rkeys: (0..rkeys).map(rkey).collect(),
        }
    }

    pub(super) fn writers(&self) -> &[Did] {
        &self.accounts[..self.writers]
    }

    /// A random account as the subject of a record: the first accounts far more often than the last
    /// ones.
    pub(super) fn subject(&self, random: &mut Random) -> &Did {
        &self.accounts[random.skewed(self.accounts.len())]
    }

    /// A random record key for this collection.
    pub(super) fn rkey(&self, collection: &str, random: &mut Random) -> String {
        if collection == "app.bsky.actor.profile" && random.chance(80) {
            return "self".to_owned();
        }
        self.rkeys[random.skewed(self.rkeys.len())].clone()
    }
}
