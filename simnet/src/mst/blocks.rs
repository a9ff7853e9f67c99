//! Nodes as blocks: hashes, proofs, whole trees, and the way back from blocks.

use std::collections::BTreeMap;

use skytide_core::cbor::{Reader, Strict};

use super::{Child, Entry, Missing, Node, Tree, common_prefix, layer};
use crate::cbor::{Cbor, Digest, digest};

impl Tree {
    /// The hash of the root node.
    pub fn root(&mut self) -> Digest {
        match &mut self.root {
            Child::None => digest(&empty()),
            Child::Cut(digest) => *digest,
            Child::Node(node) => node.seal(&mut Cbor::default()),
        }
    }

    /// Gives the nodes that prove what stands under these keys, each once, and those that lead to the nearest other keys
    /// on both sides: all that undoing a change of them needs. Answers the hash of the root node.
    ///
    /// # Errors
    /// One of these nodes was not read.
    pub fn prove(
        &mut self,
        keys: &[&[u8]],
        mut give: impl FnMut(&Digest, &[u8]),
    ) -> Result<Digest, Missing> {
        match &mut self.root {
            Child::None => {
                let block = empty();
                let root = digest(&block);
                give(&root, &block);
                Ok(root)
            }
            Child::Cut(_) => Err(Missing),
            Child::Node(node) => node.prove(keys, &mut Cbor::default(), &mut give),
        }
    }

    /// Gives all nodes, those below before those above.
    ///
    /// # Errors
    /// A part of the tree was not read.
    pub fn blocks(&mut self, mut give: impl FnMut(&Digest, &[u8])) -> Result<(), Missing> {
        match &mut self.root {
            Child::None => {
                let block = empty();
                give(&digest(&block), &block);
                Ok(())
            }
            Child::Cut(_) => Err(Missing),
            Child::Node(node) => node.each(&mut Cbor::default(), &mut give),
        }
    }

    /// Reads as much of a tree as these blocks hold, by their hashes.
    ///
    /// # Errors
    /// The root is not among them, or a block is no node of a tree.
    pub fn from_blocks(root: &Digest, blocks: &BTreeMap<Digest, &[u8]>) -> Result<Self, Missing> {
        match read(root, blocks)? {
            Child::Cut(_) => Err(Missing),
            Child::Node(node) if node.entries.is_empty() && matches!(node.left, Child::None) => {
                Ok(Self::default())
            }
            root => Ok(Self { root }),
        }
    }
}

/// The one node of a tree without keys.
fn empty() -> Vec<u8> {
    let mut cbor = Cbor::default();
    cbor.map(2).text("e").list(0).text("l").null();
    cbor.0
}

impl Child {
    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::None => None,
            Self::Cut(digest) => Some(digest),
            Self::Node(node) => Some(node.digest.as_ref().expect("nodes below are sealed first")),
        }
    }

    fn seal(&mut self, buffer: &mut Cbor) {
        if let Self::Node(node) = self {
            node.seal(buffer);
        }
    }
}

impl Node {
    fn seal(&mut self, buffer: &mut Cbor) -> Digest {
        if let Some(digest) = self.digest {
            return digest;
        }
        for place in 0..=self.entries.len() {
            self.gap_mut(place).seal(buffer);
        }
        self.finish(buffer)
    }

    /// Writes the block into the buffer, whose nodes below have their hashes, and finds its hash.
    fn finish(&mut self, buffer: &mut Cbor) -> Digest {
        self.write(buffer);
        *self.digest.get_or_insert_with(|| digest(&buffer.0))
    }

    fn prove(
        &mut self,
        keys: &[&[u8]],
        buffer: &mut Cbor,
        give: &mut impl FnMut(&Digest, &[u8]),
    ) -> Result<Digest, Missing> {
        for place in 0..=self.entries.len() {
            let above = place.checked_sub(1).map(|place| &*self.entries[place].key);
            let below = self.entries.get(place).map(|entry| &*entry.key);
            let wanted = keys.iter().any(|&key| {
                above.is_none_or(|above| above <= key) && below.is_none_or(|below| key <= below)
            });
            match self.gap_mut(place) {
                Child::None => {}
                Child::Cut(_) if wanted => return Err(Missing),
                Child::Cut(_) => {}
                Child::Node(node) if wanted => {
                    node.prove(keys, buffer, give)?;
                }
                Child::Node(node) => {
                    node.seal(buffer);
                }
            }
        }
        let digest = self.finish(buffer);
        give(&digest, &buffer.0);
        Ok(digest)
    }

    fn each(
        &mut self,
        buffer: &mut Cbor,
        give: &mut impl FnMut(&Digest, &[u8]),
    ) -> Result<(), Missing> {
        for place in 0..=self.entries.len() {
            match self.gap_mut(place) {
                Child::None => {}
                Child::Cut(_) => return Err(Missing),
                Child::Node(node) => node.each(buffer, give)?,
            }
        }
        let digest = self.finish(buffer);
        give(&digest, &buffer.0);
        Ok(())
    }

    /// Writes the block: keys are cut by what they share with the one before.
    fn write(&self, buffer: &mut Cbor) {
        buffer.0.clear();
        buffer.map(2).text("e").list(self.entries.len());
        let mut before: &[u8] = &[];
        for entry in &self.entries {
            let shared = common_prefix(before, &entry.key);
            buffer.map(4).text("k").bytes(&entry.key[shared..]);
            buffer.text("p").uint(shared as u64);
            buffer.text("t").link_or_null(entry.right.digest());
            buffer.text("v").link(&entry.value);
            before = &entry.key;
        }
        buffer.text("l").link_or_null(self.left.digest());
    }
}

/// Reads a node and all below it that there is.
fn read(at: &Digest, blocks: &BTreeMap<Digest, &[u8]>) -> Result<Child, Missing> {
    let Some(block) = blocks.get(at) else {
        return Ok(Child::Cut(*at));
    };
    let (left, entries) = read_block(block).ok_or(Missing)?;
    let below = |at: Option<Digest>| at.map_or(Ok(Child::None), |at| read(&at, blocks));
    let left = below(left)?;
    let mut kept = Vec::with_capacity(entries.len());
    for (key, value, right) in entries {
        kept.push(Entry {
            key: key.into(),
            value,
            right: below(right)?,
        });
    }
    let layer = match (kept.first(), &left) {
        (Some(entry), _) => layer(&entry.key),
        (None, Child::Node(node)) => node.layer + 1,
        (None, Child::None) => 0,
        (None, Child::Cut(_)) => return Err(Missing),
    };
    Ok(Child::Node(Box::new(Node {
        layer,
        left,
        entries: kept,
        digest: Some(*at),
    })))
}

type Entries = Vec<(Vec<u8>, Digest, Option<Digest>)>;

fn read_block(block: &[u8]) -> Option<(Option<Digest>, Entries)> {
    let (mut left, mut entries, mut before) = (None, Entries::new(), Vec::new());
    let mut reader = Reader::<Strict>::new(block);
    let read = reader.map(|reader, key| {
        match key {
            b"e" => {
                reader.list(|reader| {
                    let (mut rest, mut shared, mut value, mut right) = (None, None, None, None);
                    reader.map(|reader, key| {
                        match key {
                            b"k" => rest = reader.bytes()?,
                            b"p" => shared = reader.integer()?,
                            b"t" => right = reader.link()?.map(|cid| *cid.digest()),
                            b"v" => value = reader.link()?.map(|cid| *cid.digest()),
                            _ => reader.skip()?,
                        }
                        Ok(())
                    })?;
                    before.truncate(
                        shared
                            .and_then(|shared| usize::try_from(shared).ok())
                            .unwrap_or(0),
                    );
                    before.extend_from_slice(rest.unwrap_or_default());
                    entries.push((before.clone(), value.unwrap_or_default(), right));
                    Ok(())
                })?;
            }
            b"l" => left = reader.link()?.map(|cid| *cid.digest()),
            _ => reader.skip()?,
        }
        Ok(())
    });
    read.ok()??;
    Some((left, entries))
}
