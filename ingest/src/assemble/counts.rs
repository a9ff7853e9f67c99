//! Counters between two ticks. They are arrays, because every frame updates them; names are used
//! only where a tick is written.

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, DropReason, Gap, GapCause};

/// Kinds of frames with a counter of their own; all others are `other`.
pub(crate) const KINDS: [&str; 8] = [
    "#commit",
    "#identity",
    "#account",
    "#sync",
    "#info",
    "error",
    "unreadable",
    "other",
];
/// Notes (`#info`) of the relay with a counter of their own; all others are `other`.
const INFOS: [&str; 2] = ["OutdatedCursor", "other"];
/// Errors of the relay with a counter of their own; all others are `other`.
const ERRORS: [&str; 3] = ["FutureCursor", "ConsumerTooSlow", "other"];
const REASONS: usize = DropReason::ALL.len();

/// Collections with a label of their own in metrics and summaries; all others are `other`.
pub const COLLECTIONS: [&str; 19] = [
    "app.bsky.actor.profile",
    "app.bsky.actor.status",
    "app.bsky.feed.generator",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.postgate",
    "app.bsky.feed.repost",
    "app.bsky.feed.threadgate",
    "app.bsky.graph.block",
    "app.bsky.graph.follow",
    "app.bsky.graph.list",
    "app.bsky.graph.listblock",
    "app.bsky.graph.listitem",
    "app.bsky.graph.starterpack",
    "app.bsky.graph.verification",
    "app.bsky.labeler.service",
    "app.bsky.notification.declaration",
    "chat.bsky.actor.declaration",
    "other",
];
const OTHER: usize = COLLECTIONS.len() - 1;
const ACTIONS: [Action; 3] = [Action::Create, Action::Update, Action::Delete];

/// Counts since the previous tick.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Frames read.
    pub frames: u64,
    /// Total size of these frames in bytes.
    pub frame_bytes: u64,
    /// Events written to the log.
    pub events: u64,
    /// Gaps in the relay's `seq`.
    pub gaps: u64,
    /// Numbers missing in these gaps.
    pub missing_seqs: u64,
    /// How often the relay's numbering restarted.
    pub resets: u64,
    /// How often the connection was lost.
    pub disconnects: u64,
    /// Operations on a path that an earlier operation of the same commit names. They are legal and
    /// applied in order.
    pub paths_repeated: u64,
    kinds: [u64; KINDS.len()],
    infos: [u64; INFOS.len()],
    errors: [u64; ERRORS.len()],
    drops: Drops,
    ops: [[u64; ACTIONS.len()]; COLLECTIONS.len()],
    identities: u64,
    accounts: u64,
    moved: u64,
    coverage_gaps: [u64; GapCause::ALL.len()],
    /// Network time in coverage gaps, in ms.
    pub coverage_gap_ms: u64,
}

/// Drops by reason. It is a type of its own, because arrays of this length do not implement
/// `Default`.
#[derive(Clone, Debug)]
struct Drops([u64; REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; REASONS])
    }
}

impl Counts {
    pub(crate) fn frame(&mut self, kind: &str, bytes: usize) {
        self.frames += 1;
        self.frame_bytes += bytes as u64;
        self.kinds[index_of(&KINDS, kind)] += 1;
    }

    pub(crate) fn info(&mut self, name: &str) {
        self.infos[index_of(&INFOS, name)] += 1;
    }

    pub(crate) fn error(&mut self, name: &str) {
        self.errors[index_of(&ERRORS, name)] += 1;
    }

    pub(crate) fn drop(&mut self, reason: DropReason, count: u64) {
        self.drops.0[reason as usize] += count;
    }

    pub(crate) fn event(&mut self, body: &Body) {
        self.events += 1;
        match body {
            Body::Op(op) => {
                self.ops[collection_index(op.collection.as_str())][op.action as usize] += 1;
            }
            Body::Identity { .. } => self.identities += 1,
            Body::Account { .. } => self.accounts += 1,
            Body::Moved { .. } => self.moved += 1,
        }
    }

    pub(crate) fn coverage_gap(&mut self, gap: &Gap) {
        self.coverage_gaps[gap.cause as usize] += 1;
        self.coverage_gap_ms += gap.to.0.saturating_sub(gap.from.0);
    }

    /// Coverage gaps by cause, without zeros.
    pub fn coverage_gaps(&self) -> impl Iterator<Item = (GapCause, u64)> {
        GapCause::ALL
            .into_iter()
            .zip(self.coverage_gaps)
            .filter(|&(_, count)| count > 0)
    }

    /// Drops by reason, without zeros.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let drops = DropReason::ALL
            .iter()
            .map(|&r| (r, self.drops.0[r as usize]));
        drops.filter(|&(_, count)| count > 0)
    }

    /// Frames by kind, without zeros.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
        KINDS
            .into_iter()
            .zip(self.kinds)
            .filter(|&(_, count)| count > 0)
    }

    /// Operations by collection and action, without zeros.
    pub fn ops(&self) -> impl Iterator<Item = (&'static str, Action, u64)> {
        let rows = COLLECTIONS.into_iter().zip(&self.ops);
        let cells = rows.flat_map(|(collection, row)| {
            ACTIONS
                .into_iter()
                .zip(row)
                .map(move |(action, &count)| (collection, action, count))
        });
        cells.filter(|&(_, _, count)| count > 0)
    }

    /// Events that are not operations: `#identity`, `#account`, and new revisions of a repo without
    /// the operations that led to them.
    pub fn others(&self) -> [(&'static str, u64); 3] {
        [
            ("identity", self.identities),
            ("account", self.accounts),
            ("moved", self.moved),
        ]
    }

    /// The counters of a tick by name (`docs/recordings.md`), without zeros.
    pub fn by_name(&self) -> BTreeMap<Box<str>, u64> {
        let plain = [
            ("frames", self.frames),
            ("frame_bytes", self.frame_bytes),
            ("events", self.events),
            ("gaps", self.gaps),
            ("missing_seqs", self.missing_seqs),
            ("resets", self.resets),
            ("disconnects", self.disconnects),
            ("paths_repeated", self.paths_repeated),
            ("coverage_gap_ms", self.coverage_gap_ms),
        ];
        let plain = plain.map(|(name, count)| (Box::from(name), count));
        let named = |group: &'static str, names: &[&'static str], counts: &[u64]| {
            let pairs = names.iter().zip(counts);
            pairs
                .map(|(name, &count)| (format!("{group}/{name}").into_boxed_str(), count))
                .collect::<Vec<_>>()
        };
        let reasons = DropReason::ALL.iter().map(|reason| reason.as_str());
        let causes = GapCause::ALL.map(GapCause::as_str);
        plain
            .into_iter()
            .chain(named("coverage_gaps", &causes, &self.coverage_gaps))
            .chain(named("frames", &KINDS, &self.kinds))
            .chain(named("info", &INFOS, &self.infos))
            .chain(named("error", &ERRORS, &self.errors))
            .chain(named(
                "dropped",
                &reasons.collect::<Vec<_>>(),
                &self.drops.0,
            ))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// Adds the counts of a later epoch.
    pub fn add(&mut self, later: &Self) {
        let pairs = [
            (&mut self.frames, later.frames),
            (&mut self.frame_bytes, later.frame_bytes),
            (&mut self.events, later.events),
            (&mut self.gaps, later.gaps),
            (&mut self.missing_seqs, later.missing_seqs),
            (&mut self.resets, later.resets),
            (&mut self.disconnects, later.disconnects),
            (&mut self.paths_repeated, later.paths_repeated),
            (&mut self.identities, later.identities),
            (&mut self.accounts, later.accounts),
            (&mut self.moved, later.moved),
            (&mut self.coverage_gap_ms, later.coverage_gap_ms),
        ];
        for (sum, count) in pairs {
            *sum += count;
        }
        add_each(&mut self.kinds, &later.kinds);
        add_each(&mut self.infos, &later.infos);
        add_each(&mut self.errors, &later.errors);
        add_each(&mut self.drops.0, &later.drops.0);
        add_each(&mut self.coverage_gaps, &later.coverage_gaps);
        for (row, count) in self.ops.iter_mut().zip(&later.ops) {
            add_each(row, count);
        }
    }
}

fn add_each(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// The index of a name, or the last index, which counts all other names.
fn index_of(names: &[&str], name: &str) -> usize {
    let found = names.iter().position(|&known| known == name);
    found.unwrap_or(names.len() - 1)
}

fn collection_index(name: &str) -> usize {
    COLLECTIONS[..OTHER].binary_search(&name).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_in_which_they_are_searched() {
        assert!(COLLECTIONS[..OTHER].is_sorted());
        for (i, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
        for (i, cause) in GapCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, i);
        }
        for (i, action) in ACTIONS.into_iter().enumerate() {
            assert_eq!(action as usize, i);
        }
    }

    #[test]
    fn the_number_of_names_is_bounded_for_any_stream() {
        let mut counts = Counts::default();
        for i in 0..1_000 {
            counts.frame(&format!("#new{i}"), 1);
            counts.info(&format!("Note{i}"));
            counts.error(&format!("Error{i}"));
        }
        let names: Vec<_> = counts.by_name().into_iter().collect();
        let expected = [
            ("error/other", 1_000),
            ("frame_bytes", 1_000),
            ("frames", 1_000),
            ("frames/other", 1_000),
            ("info/other", 1_000),
        ];
        assert_eq!(
            names,
            expected.map(|(name, count)| (Box::from(name), count))
        );
    }
}
