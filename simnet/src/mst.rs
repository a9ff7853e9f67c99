//! The Merkle search tree of a repository (<https://atproto.com/specs/repository#mst-structure>),
//! held in memory and updated in place.
//!
//! ```text
//! layer 2            [ · k4 · ]              a key's layer depends only on its hash, so the
//! layer 1       [ k2 · ]     [ · k7 ]        tree is a function of its keys, whatever the
//! layer 0   [ k1 ]  [ k3 ]  [ k5 k6 ]        order of changes
//! ```
//!
//! A change touches the nodes on the path to its key and the nodes that it splits or joins. It
//! clears their cached hashes; [`Tree::root`] computes them again. A tree may be read from a part
//! of its blocks ([`Tree::from_blocks`]). The other nodes are then unread, and an operation that
//! needs one of them fails with [`MissingBlock`]. The check of a commit's proof relies on that:
//! inverting its operations must emit the previous tree
//! (<https://atproto.com/specs/sync#operation-inversion>).

mod blocks;
mod change;

use crate::cbor::{Digest, digest};

/// A tree of keys (`collection/rkey`) and the hashes of their records.
#[derive(Debug, Default)]
pub struct Tree {
    root: Child,
}

/// A block that the operation needs is missing: the proof is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of the tree is missing")]
pub struct MissingBlock;

/// The subtree between two keys.
#[derive(Debug, Default)]
pub(crate) enum Child {
    /// No keys.
    #[default]
    None,
    /// A node.
    Node(Box<Node>),
    /// A node whose block was not read.
    Unread(Digest),
}

#[derive(Debug)]
pub(crate) struct Node {
    layer: u8,
    /// The subtree before the first key.
    left: Child,
    entries: Vec<Entry>,
    /// Cached hash. Cleared by any change below.
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    value: Digest,
    /// The subtree between this key and the next one.
    right: Child,
}

/// The layer of a key: half the number of leading zero bits of its SHA-256.
pub fn layer(key: &[u8]) -> u8 {
    let hash = digest(key);
    let zeros = hash.iter().position(|&byte| byte != 0);
    let bits = zeros.map_or(256, |whole| {
        whole * 8 + hash[whole].leading_zeros() as usize
    });
    (bits / 2) as u8
}

/// The length in bytes of the common prefix of two keys.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Tree {
    /// The record under a key.
    ///
    /// # Errors
    ///
    /// A node on the path to the key was not read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Digest>, MissingBlock> {
        let mut child = &self.root;
        loop {
            let node = match child {
                Child::None => return Ok(None),
                Child::Unread(_) => return Err(MissingBlock),
                Child::Node(node) => node,
            };
            let position = node.position(key);
            match node.entries.get(position) {
                Some(entry) if *entry.key == *key => return Ok(Some(entry.value)),
                _ => child = node.child(position),
            }
        }
    }

    /// Inserts a record under a key and returns the previous one.
    ///
    /// # Errors
    ///
    /// A node to be split was not read. The tree is then inconsistent: drop it.
    pub fn insert(&mut self, key: &[u8], value: Digest) -> Result<Option<Digest>, MissingBlock> {
        change::insert(&mut self.root, key, value)
    }

    /// Removes a key and returns its record.
    ///
    /// # Errors
    ///
    /// A node to be joined was not read. The tree is then inconsistent: drop it.
    pub fn remove(&mut self, key: &[u8]) -> Result<Option<Digest>, MissingBlock> {
        change::remove(&mut self.root, key)
    }
}

impl Node {
    /// The position of the first key that is not smaller.
    fn position(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|entry| *entry.key < *key)
    }

    /// The subtree before the key at a position, or after the last key.
    fn child(&self, position: usize) -> &Child {
        match position {
            0 => &self.left,
            _ => &self.entries[position - 1].right,
        }
    }

    fn child_mut(&mut self, position: usize) -> &mut Child {
        match position {
            0 => &mut self.left,
            _ => &mut self.entries[position - 1].right,
        }
    }
}
