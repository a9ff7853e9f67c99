//! Nodes as blocks: hashes, proofs, export of whole trees, and reading from blocks.

use std::collections::BTreeMap;

use skytide_core::cbor::{Reader, Strict};

use super::{Child, Entry, MissingBlock, Node, Tree, common_prefix, layer};
use crate::cbor::{Cbor, Digest, digest};

impl Tree {
    /// The hash of the root node.
    pub fn root(&mut self) -> Digest {
        match &mut self.root {
            Child::None => digest(&empty()),
            Child::Unread(digest) => *digest,
            Child::Node(node) => node.hash(&mut Cbor::default()),
        }
    }

    /// Passes to `emit`, once each, the nodes that prove the records under these keys, and the
    /// nodes on the path to the nearest other keys on both sides. Inverting a change of these keys
    /// needs exactly these. Returns the hash of the root node.
    ///
    /// # Errors
    ///
    /// One of these nodes was not read.
    pub fn prove(
        &mut self,
        keys: &[&[u8]],
        mut emit: impl FnMut(&Digest, &[u8]),
    ) -> Result<Digest, MissingBlock> {
        match &mut self.root {
            Child::None => {
                let block = empty();
                let root = digest(&block);
                emit(&root, &block);
                Ok(root)
            }
            Child::Unread(_) => Err(MissingBlock),
            Child::Node(node) => node.prove(keys, &mut Cbor::default(), &mut emit),
        }
    }

    /// Passes all nodes to `emit`, children before parents.
    ///
    /// # Errors
    ///
    /// A part of the tree was not read.
    pub fn blocks(&mut self, mut emit: impl FnMut(&Digest, &[u8])) -> Result<(), MissingBlock> {
        match &mut self.root {
            Child::None => {
                let block = empty();
                emit(&digest(&block), &block);
                Ok(())
            }
            Child::Unread(_) => Err(MissingBlock),
            Child::Node(node) => node.visit(&mut Cbor::default(), &mut emit),
        }
    }

    /// Reads a tree, or the part of it that these blocks hold. The blocks are given by hash.
    ///
    /// # Errors
    ///
    /// The root is missing, or a block is not a node of a tree.
    pub fn from_blocks(
        root: &Digest,
        blocks: &BTreeMap<Digest, &[u8]>,
    ) -> Result<Self, MissingBlock> {
        match read(root, blocks)? {
            Child::Unread(_) => Err(MissingBlock),
            Child::Node(node) if node.entries.is_empty() && matches!(node.left, Child::None) => {
                Ok(Self::default())
            }
            root => Ok(Self { root }),
        }
    }
}

/// The only node of a tree without keys.
fn empty() -> Vec<u8> {
    let mut cbor = Cbor::default();
    cbor.map(2).text("e").list(0).text("l").null();
    cbor.0
}

impl Child {
    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::None => None,
            Self::Unread(digest) => Some(digest),
            Self::Node(node) => Some(node.digest.as_ref().expect("nodes below are hashed first")),
        }
    }

    fn hash(&mut self, buffer: &mut Cbor) {
        if let Self::Node(node) = self {
            node.hash(buffer);
        }
    }
}

impl Node {
    /// The hash of this node, from its cache or computed with all hashes below it.
    fn hash(&mut self, buffer: &mut Cbor) -> Digest {
        if let Some(digest) = self.digest {
            return digest;
        }
        for position in 0..=self.entries.len() {
            self.child_mut(position).hash(buffer);
        }
        self.encode_and_hash(buffer)
    }

    /// Encodes this node into the buffer and caches its hash. The nodes below must have their
    /// hashes.
    fn encode_and_hash(&mut self, buffer: &mut Cbor) -> Digest {
        self.write(buffer);
        *self.digest.get_or_insert_with(|| digest(&buffer.0))
    }

    /// Passes the nodes on the paths to these keys and to their neighbours to `emit`.
    fn prove(
        &mut self,
        keys: &[&[u8]],
        buffer: &mut Cbor,
        emit: &mut impl FnMut(&Digest, &[u8]),
    ) -> Result<Digest, MissingBlock> {
        for position in 0..=self.entries.len() {
            let previous = position
                .checked_sub(1)
                .map(|position| &*self.entries[position].key);
            let next = self.entries.get(position).map(|entry| &*entry.key);
            let wanted = keys.iter().any(|&key| {
                previous.is_none_or(|previous| previous <= key)
                    && next.is_none_or(|next| key <= next)
            });
            match self.child_mut(position) {
                Child::None => {}
                Child::Unread(_) if wanted => return Err(MissingBlock),
                Child::Unread(_) => {}
                Child::Node(node) if wanted => {
                    node.prove(keys, buffer, emit)?;
                }
                Child::Node(node) => {
                    node.hash(buffer);
                }
            }
        }
        let digest = self.encode_and_hash(buffer);
        emit(&digest, &buffer.0);
        Ok(digest)
    }

    /// Passes this node and all nodes below it to `emit`.
    fn visit(
        &mut self,
        buffer: &mut Cbor,
        emit: &mut impl FnMut(&Digest, &[u8]),
    ) -> Result<(), MissingBlock> {
        for position in 0..=self.entries.len() {
            match self.child_mut(position) {
                Child::None => {}
                Child::Unread(_) => return Err(MissingBlock),
                Child::Node(node) => node.visit(buffer, emit)?,
            }
        }
        let digest = self.encode_and_hash(buffer);
        emit(&digest, &buffer.0);
        Ok(())
    }

    /// Encodes this node. Each key omits the prefix that it shares with the previous key.
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

/// Reads a node and all available nodes below it.
fn read(at: &Digest, blocks: &BTreeMap<Digest, &[u8]>) -> Result<Child, MissingBlock> {
    let Some(block) = blocks.get(at) else {
        return Ok(Child::Unread(*at));
    };
    let (left, entries) = read_block(block).ok_or(MissingBlock)?;
    let below = |at: Option<Digest>| at.map_or(Ok(Child::None), |at| read(&at, blocks));
    let left = below(left)?;
    let mut nodes = Vec::with_capacity(entries.len());
    for (key, value, right) in entries {
        nodes.push(Entry {
            key: key.into(),
            value,
            right: below(right)?,
        });
    }
    let layer = match (nodes.first(), &left) {
        (Some(entry), _) => layer(&entry.key),
        (None, Child::Node(node)) => node.layer + 1,
        (None, Child::None) => 0,
        (None, Child::Unread(_)) => return Err(MissingBlock),
    };
    Ok(Child::Node(Box::new(Node {
        layer,
        left,
        entries: nodes,
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
