//! Insertion and removal of keys. A new key splits the nodes of lower layers that contain keys on
//! both sides of it; a removed key joins them. Operations return the replaced or removed value.

use super::{Child, Entry, MissingBlock, Node, layer};
use crate::cbor::Digest;

pub(super) fn insert(
    root: &mut Child,
    key: &[u8],
    value: Digest,
) -> Result<Option<Digest>, MissingBlock> {
    let key_layer = layer(key);
    match root {
        Child::Unread(_) => Err(MissingBlock),
        Child::Node(node) if node.layer >= key_layer => insert_in_node(node, key, key_layer, value),
        Child::None | Child::Node(_) => {
            let old = std::mem::take(root);
            let old_layer = match &old {
                Child::Node(node) => node.layer,
                _ => 0,
            };
            let (left, right) = split(old, key)?;
            let [left, right] = [left, right].map(|side| lift(side, old_layer, key_layer));
            *root = single(left, key, value, right, key_layer);
            Ok(None)
        }
    }
}

/// Inserts a key into the subtree of a node whose layer is not lower than that of the key.
fn insert_in_node(
    node: &mut Node,
    key: &[u8],
    key_layer: u8,
    value: Digest,
) -> Result<Option<Digest>, MissingBlock> {
    node.digest = None;
    let position = node.position(key);
    if node.layer == key_layer {
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
    let node_layer = node.layer;
    let gap = node.child_mut(position);
    match gap {
        Child::Node(child) => insert_in_node(child, key, key_layer, value),
        Child::Unread(_) => Err(MissingBlock),
        Child::None => {
            let new = single(Child::None, key, value, Child::None, key_layer);
            *gap = lift(new, key_layer, node_layer);
            Ok(None)
        }
    }
}

pub(super) fn remove(root: &mut Child, key: &[u8]) -> Result<Option<Digest>, MissingBlock> {
    let removed = remove_from(root, key, layer(key))?;
    // A root without keys is replaced by its child.
    loop {
        match root {
            Child::Node(node) if node.entries.is_empty() => *root = std::mem::take(&mut node.left),
            _ => return Ok(removed),
        }
    }
}

/// Removes a key from a subtree. A node that becomes empty is removed, too.
fn remove_from(
    child: &mut Child,
    key: &[u8],
    key_layer: u8,
) -> Result<Option<Digest>, MissingBlock> {
    let node = match child {
        Child::None => return Ok(None),
        Child::Unread(_) => return Err(MissingBlock),
        Child::Node(node) => node,
    };
    let position = node.position(key);
    let removed = if node.layer > key_layer {
        remove_from(node.child_mut(position), key, key_layer)?
    } else {
        let found = node.layer == key_layer
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

/// Splits a subtree into the keys less than a key and the keys greater than it.
fn split(child: Child, key: &[u8]) -> Result<(Child, Child), MissingBlock> {
    let mut node = match child {
        Child::None => return Ok((Child::None, Child::None)),
        Child::Unread(_) => return Err(MissingBlock),
        Child::Node(node) => node,
    };
    let position = node.position(key);
    let (less, greater) = split(std::mem::take(node.child_mut(position)), key)?;
    let right = Node {
        layer: node.layer,
        left: greater,
        entries: node.entries.split_off(position),
        digest: None,
    };
    *node.child_mut(position) = less;
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

/// Wraps a node of layer `from` in nodes without keys, so that it can be a child of a node of layer
/// `to`.
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
