//! The tree of a repository (<https://atproto.com/specs/repository#mst-structure>), kept in memory and changed in place.
//!
//! ```text
//! layer 2            [ · k4 · ]              a key's layer follows from its hash alone, so the tree is
//! layer 1       [ k2 · ]     [ · k7 ]        a function of what is in it, whatever the order of changes
//! layer 0   [ k1 ]  [ k3 ]  [ k5 k6 ]        between two keys hangs the node of the keys in between
//! ```
//!
//! A change touches the path to its key and the nodes that it splits or joins; their hashes are forgotten, and found
//! again when the root is asked for. A tree may have been read from a part of its blocks ([`Tree::from_blocks`]): then
//! the rest is cut off, and what needs it fails with [`Missing`]. That is how a commit's proof is checked: undoing
//! its operations must lead to the tree before (<https://atproto.com/specs/sync#operation-inversion>).

mod blocks;
mod change;

use crate::cbor::{Digest, digest};

/// A tree of keys (`collection/rkey`) and the hashes of their records.
#[derive(Debug, Default)]
pub struct Tree {
    root: Child,
}

/// A block that is needed is not there: the proof is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of the tree is missing")]
pub struct Missing;

/// What hangs between two keys.
#[derive(Debug, Default)]
pub(crate) enum Child {
    /// Nothing.
    #[default]
    None,
    /// A node.
    Node(Box<Node>),
    /// A node that was not read.
    Cut(Digest),
}

#[derive(Debug)]
pub(crate) struct Node {
    layer: u8,
    /// What stands before the first key.
    left: Child,
    entries: Vec<Entry>,
    /// Forgotten when anything below changes.
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    value: Digest,
    /// What stands between this key and the next one.
    right: Child,
}

/// The layer of a key: half the number of zero bits that its SHA-256 begins with.
pub fn layer(key: &[u8]) -> u8 {
    let hash = digest(key);
    let zeros = hash.iter().position(|&byte| byte != 0);
    let bits = zeros.map_or(256, |whole| {
        whole * 8 + hash[whole].leading_zeros() as usize
    });
    (bits / 2) as u8
}

/// How many bytes two keys share in front.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Tree {
    /// The record under a key.
    ///
    /// # Errors
    /// The way to the key was not read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Digest>, Missing> {
        let mut child = &self.root;
        loop {
            let node = match child {
                Child::None => return Ok(None),
                Child::Cut(_) => return Err(Missing),
                Child::Node(node) => node,
            };
            let place = node.place(key);
            match node.entries.get(place) {
                Some(entry) if *entry.key == *key => return Ok(Some(entry.value)),
                _ => child = node.gap(place),
            }
        }
    }

    /// Puts a record under a key; answers the one that was there.
    ///
    /// # Errors
    /// A node that must be split was not read; the tree is of no use any more.
    pub fn insert(&mut self, key: &[u8], value: Digest) -> Result<Option<Digest>, Missing> {
        change::insert(&mut self.root, key, value)
    }

    /// Takes a key away; answers its record.
    ///
    /// # Errors
    /// A node that must be joined was not read; the tree is of no use any more.
    pub fn remove(&mut self, key: &[u8]) -> Result<Option<Digest>, Missing> {
        change::remove(&mut self.root, key)
    }
}

impl Node {
    /// The place of the first key that is not smaller.
    fn place(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|entry| *entry.key < *key)
    }

    /// What stands before the key at a place, or behind the last one.
    fn gap(&self, place: usize) -> &Child {
        match place {
            0 => &self.left,
            _ => &self.entries[place - 1].right,
        }
    }

    fn gap_mut(&mut self, place: usize) -> &mut Child {
        match place {
            0 => &mut self.left,
            _ => &mut self.entries[place - 1].right,
        }
    }
}
