//! When adjacent runs of a table become one.

use std::ops::Range;

/// Which runs are merged.
///
/// A run belongs to a tier by its size: each tier is `runs_max` times as large as the previous
/// tier. So an entry is written once a tier, and a lookup checks the filters of fewer than
/// `runs_max` runs a tier. This is size-tiered compaction:
/// <https://cassandra.apache.org/doc/latest/cassandra/managing/operating/compaction/stcs.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergePolicy {
    /// Number of adjacent runs of one tier that are merged, at least 2.
    pub runs_max: usize,
    /// Largest size of a run of the first tier, in bytes.
    pub first_tier_bytes: u64,
}

impl Default for MergePolicy {
    fn default() -> Self {
        Self {
            runs_max: 4,
            first_tier_bytes: 64 << 10,
        }
    }
}

impl MergePolicy {
    fn tier(&self, bytes: u64) -> u32 {
        let factor = self.runs_max.max(2) as u64;
        let mut tier = 0;
        let mut limit = self.first_tier_bytes.max(1);
        while bytes > limit {
            limit = limit.saturating_mul(factor);
            tier += 1;
        }
        tier
    }

    /// The adjacent runs to merge next, of runs of these sizes, newest first. A smaller run between
    /// others of a tier is merged with them.
    fn due(&self, sizes: &[u64]) -> Option<Range<usize>> {
        let tiers: Vec<u32> = sizes.iter().map(|&bytes| self.tier(bytes)).collect();
        (0..tiers.len()).find_map(|start| {
            let of_tier = tiers[start..].iter().take_while(|&&it| it <= tiers[start]);
            let count = of_tier.count();
            (count >= self.runs_max.max(2)).then(|| start..start + count)
        })
    }

    /// Divides runs of these sizes, newest first, into groups, each of which becomes one run. If the
    /// result of a merge is due to be merged again, both merges are one group, so no entry is
    /// written twice.
    pub fn groups(&self, sizes: &[u64]) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = (0..sizes.len()).map(|at| at..at + 1).collect();
        let mut sizes = sizes.to_vec();
        while let Some(due) = self.due(&sizes) {
            let merged = groups[due.start].start..groups[due.end - 1].end;
            let bytes = sizes[due.clone()].iter().sum();
            groups.splice(due.clone(), [merged]);
            sizes.splice(due, [bytes]);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: MergePolicy = MergePolicy {
        runs_max: 4,
        first_tier_bytes: 10,
    };

    #[test]
    fn runs_of_one_tier_are_merged() {
        for (sizes, expected) in [
            (&[][..], None),
            (&[1, 2, 3], None),
            (&[1, 2, 3, 4], Some(0..4)),
            (&[1, 40, 40, 40], None),
            (&[1, 40, 40, 40, 40, 160], Some(1..5)),
            (&[1, 40, 3, 40, 40, 160], Some(1..5)),
            (&[160, 1, 40, 40], Some(0..4)),
        ] {
            assert_eq!(POLICY.due(sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_merge_whose_result_is_due_again_is_one_group() {
        let groups = |sizes: &[u64]| POLICY.groups(sizes);
        assert_eq!(groups(&[]), []);
        assert_eq!(groups(&[1, 2, 3]), [0..1, 1..2, 2..3]);
        assert_eq!(groups(&[9, 9, 9, 9, 160]), [0..4, 4..5]);
        assert_eq!(groups(&[9, 9, 9, 9, 40, 40, 40, 160]), [0..7, 7..8]);
    }

    /// Sizes as a table gets them that is written again and again.
    #[test]
    fn the_number_of_runs_and_the_bytes_written_grow_with_the_logarithm() {
        let (mut sizes, mut written) = (Vec::new(), 0);
        for _ in 0..4_096 {
            sizes.insert(0, 10);
            let groups = POLICY.groups(&sizes);
            let merged: Vec<u64> = groups
                .iter()
                .map(|it| sizes[it.clone()].iter().sum())
                .collect();
            let changed = groups.iter().zip(&merged);
            let changed = changed.filter(|(group, _)| group.len() > 1 || group.start == 0);
            written += changed.map(|(_, bytes)| bytes).sum::<u64>();
            sizes = merged;
            assert!(sizes.len() <= 3 * 7, "{sizes:?}");
        }
        assert!(written <= 4_096 * 10 * 7, "{written}");
    }
}
