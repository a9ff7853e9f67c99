//! Insertion and removal of keys. A new key splits nodes, a removed key joins them.

use super::{Child, Entry, MissingBlock, Node, layer};
use crate::cbor::Digest;

pub(super) fn insert(
    root: &mut Child,
    key: &[u8],
    value: Digest,
) -> Result<Option<Digest>, MissingBlock> {
    let height = layer(key);
    match root {
        Child::Unread(_) => Err(MissingBlock),
        Child::Node(node) if node.layer >= height => insert_below(node, key, height, value),
        Child::None | Child::Node(_) => {
            let old = std::mem::take(root);
            let below = match &old {
                Child::Node(node) => node.layer,
                _ => 0,
            };
            let (left, right) = split(old, key)?;
            let [left, right] = [left, right].map(|side| lift(side, below, height));
            *root = single(left, key, value, right, height);
            Ok(None)
        }
    }
}

fn insert_below(
    node: &mut Node,
    key: &[u8],
    height: u8,
    value: Digest,
) -> Result<Option<Digest>, MissingBlock> {
    node.digest = None;
    let position = node.position(key);
    if node.layer == height {
        if let Some(entry) = node.entries.get_mut(position)
            && *entry.key == *key
        {
            return Ok(Some(std::mem::replace(&mut entry.value, value)));
        }
        let (left, right) = split(std::mem::take(node.child_mut(position)), key)?;
        *node.child_mut(position) = left;
        let key = key.into();
        node.entries.insert(position, Entry { key, value, right });
        return Ok(None);
    }
    let below = node.layer - 1;
    let gap = node.child_mut(position);
    match gap {
        Child::Node(child) => insert_below(child, key, height, value),
        Child::Unread(_) => Err(MissingBlock),
        Child::None => {
            let lowest = single(Child::None, key, value, Child::None, height);
            *gap = lift(lowest, height, below + 1);
            Ok(None)
        }
    }
}

pub(super) fn remove(root: &mut Child, key: &[u8]) -> Result<Option<Digest>, MissingBlock> {
    let removed = remove_below(root, key, layer(key))?;
    // A root without keys is replaced by the node below it.
    loop {
        match root {
            Child::Node(node) if node.entries.is_empty() => *root = std::mem::take(&mut node.left),
            _ => return Ok(removed),
        }
    }
}

fn remove_below(child: &mut Child, key: &[u8], height: u8) -> Result<Option<Digest>, MissingBlock> {
    let node = match child {
        Child::None => return Ok(None),
        Child::Unread(_) => return Err(MissingBlock),
        Child::Node(node) => node,
    };
    let position = node.position(key);
    let removed = if node.layer > height {
        remove_below(node.child_mut(position), key, height)?
    } else {
        let found = node.layer == height
            && node
                .entries
                .get(position)
                .is_some_and(|entry| *entry.key == *key);
        if !found {
            return Ok(None);
        }
        let Entry { value, right, .. } = node.entries.remove(position);
        let left = std::mem::take(node.child_mut(position));
        *node.child_mut(position) = join(left, right)?;
        Some(value)
    };
    if removed.is_some() {
        node.digest = None;
        if node.is_empty() {
            *child = Child::None;
        }
    }
    Ok(removed)
}

/// Splits a subtree into the keys below a key and the keys above it.
fn split(child: Child, key: &[u8]) -> Result<(Child, Child), MissingBlock> {
    let mut node = match child {
        Child::None => return Ok((Child::None, Child::None)),
        Child::Unread(_) => return Err(MissingBlock),
        Child::Node(node) => node,
    };
    let position = node.position(key);
    let (below, above) = split(std::mem::take(node.child_mut(position)), key)?;
    let right = Node {
        layer: node.layer,
        left: above,
        entries: node.entries.split_off(position),
        digest: None,
    };
    *node.child_mut(position) = below;
    node.digest = None;
    Ok((Node::into_child(node), Node::into_child(Box::new(right))))
}

/// Joins two neighbouring subtrees of the same layer.
fn join(left: Child, right: Child) -> Result<Child, MissingBlock> {
    let (mut left, mut right) = match (left, right) {
        (Child::None, only) | (only, Child::None) => return Ok(only),
        (Child::Node(left), Child::Node(right)) => (left, right),
        _ => return Err(MissingBlock),
    };
    let end = left.entries.len();
    let between = join(
        std::mem::take(left.child_mut(end)),
        std::mem::take(&mut right.left),
    )?;
    *left.child_mut(end) = between;
    left.entries.append(&mut right.entries);
    left.digest = None;
    Ok(Child::Node(left))
}

/// Wraps a node of layer `from` in nodes without keys, up to the layer below `to`.
fn lift(mut child: Child, from: u8, to: u8) -> Child {
    if matches!(child, Child::None) {
        return child;
    }
    for layer in from + 1..to {
        child = Child::Node(Box::new(Node {
            layer,
            left: child,
            entries: Vec::new(),
            digest: None,
        }));
    }
    child
}

/// A node with one key.
fn single(left: Child, key: &[u8], value: Digest, right: Child, layer: u8) -> Child {
    let key = key.into();
    Child::Node(Box::new(Node {
        layer,
        left,
        entries: vec![Entry { key, value, right }],
        digest: None,
    }))
}

impl Node {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && matches!(self.left, Child::None)
    }

    fn into_child(node: Box<Self>) -> Child {
        if node.is_empty() {
            Child::None
        } else {
            Child::Node(node)
        }
    }
}
