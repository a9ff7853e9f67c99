//! Keys in and out: nodes are split at a new key and joined where one went.

use super::{Child, Entry, Missing, Node, layer};
use crate::cbor::Digest;

pub(super) fn insert(
    root: &mut Child,
    key: &[u8],
    value: Digest,
) -> Result<Option<Digest>, Missing> {
    let height = layer(key);
    match root {
        Child::Cut(_) => Err(Missing),
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
) -> Result<Option<Digest>, Missing> {
    node.digest = None;
    let place = node.place(key);
    if node.layer == height {
        if let Some(entry) = node.entries.get_mut(place)
            && *entry.key == *key
        {
            return Ok(Some(std::mem::replace(&mut entry.value, value)));
        }
        let (left, right) = split(std::mem::take(node.gap_mut(place)), key)?;
        *node.gap_mut(place) = left;
        let key = key.into();
        node.entries.insert(place, Entry { key, value, right });
        return Ok(None);
    }
    let below = node.layer - 1;
    let gap = node.gap_mut(place);
    match gap {
        Child::Node(child) => insert_below(child, key, height, value),
        Child::Cut(_) => Err(Missing),
        Child::None => {
            let lowest = single(Child::None, key, value, Child::None, height);
            *gap = lift(lowest, height, below + 1);
            Ok(None)
        }
    }
}

pub(super) fn remove(root: &mut Child, key: &[u8]) -> Result<Option<Digest>, Missing> {
    let removed = remove_below(root, key, layer(key))?;
    // A root without keys is the node below it.
    loop {
        match root {
            Child::Node(node) if node.entries.is_empty() => *root = std::mem::take(&mut node.left),
            _ => return Ok(removed),
        }
    }
}

fn remove_below(child: &mut Child, key: &[u8], height: u8) -> Result<Option<Digest>, Missing> {
    let node = match child {
        Child::None => return Ok(None),
        Child::Cut(_) => return Err(Missing),
        Child::Node(node) => node,
    };
    let place = node.place(key);
    let removed = if node.layer > height {
        remove_below(node.gap_mut(place), key, height)?
    } else {
        let found = node.layer == height
            && node
                .entries
                .get(place)
                .is_some_and(|entry| *entry.key == *key);
        if !found {
            return Ok(None);
        }
        let Entry { value, right, .. } = node.entries.remove(place);
        let left = std::mem::take(node.gap_mut(place));
        *node.gap_mut(place) = join(left, right)?;
        Some(value)
    };
    if removed.is_some() {
        node.digest = None;
        if node.is_bare() {
            *child = Child::None;
        }
    }
    Ok(removed)
}

/// Parts what is below a key from what is above it.
fn split(child: Child, key: &[u8]) -> Result<(Child, Child), Missing> {
    let mut node = match child {
        Child::None => return Ok((Child::None, Child::None)),
        Child::Cut(_) => return Err(Missing),
        Child::Node(node) => node,
    };
    let place = node.place(key);
    let (below, above) = split(std::mem::take(node.gap_mut(place)), key)?;
    let right = Node {
        layer: node.layer,
        left: above,
        entries: node.entries.split_off(place),
        digest: None,
    };
    *node.gap_mut(place) = below;
    node.digest = None;
    Ok((Node::kept(node), Node::kept(Box::new(right))))
}

/// Joins two neighbours of the same layer.
fn join(left: Child, right: Child) -> Result<Child, Missing> {
    let (mut left, mut right) = match (left, right) {
        (Child::None, only) | (only, Child::None) => return Ok(only),
        (Child::Node(left), Child::Node(right)) => (left, right),
        _ => return Err(Missing),
    };
    let end = left.entries.len();
    let between = join(
        std::mem::take(left.gap_mut(end)),
        std::mem::take(&mut right.left),
    )?;
    *left.gap_mut(end) = between;
    left.entries.append(&mut right.entries);
    left.digest = None;
    Ok(Child::Node(left))
}

/// Puts nodes without keys above a node of one layer until they reach below `to`.
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

/// A node of one key.
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
    fn is_bare(&self) -> bool {
        self.entries.is_empty() && matches!(self.left, Child::None)
    }

    fn kept(node: Box<Self>) -> Child {
        if node.is_bare() {
            Child::None
        } else {
            Child::Node(node)
        }
    }
}
