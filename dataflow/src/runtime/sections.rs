//! Reads the sections of a checkpoint as plain values, for the audit.

use std::sync::Arc;

use skytide_core::live::{LiveAccount, LiveTotals, SectionReader};
use skytide_core::view::ActivityRow;

use super::restore::SavedAccumulators;
use super::section_name::{run_shard, shard_of};
use crate::records::{SHARDS, saved};
use crate::saved_shard::SavedShard;

/// Reads the sections that [`run`](crate::run) writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections;

impl SectionReader for Sections {
    fn shards(&self) -> u16 {
        SHARDS
    }

    fn shard(&self, name: &str) -> Option<u16> {
        shard_of(name)
    }

    fn accounts(&self, sections: Vec<(Box<str>, Vec<u8>)>) -> Result<Vec<LiveAccount>, String> {
        let mut saved = SavedShard::default();
        for (name, bytes) in sections {
            let bytes = Arc::new(bytes);
            match run_shard(&name) {
                Some(_) => saved.runs.push((name, bytes)),
                None => saved.sections.push(bytes),
            }
        }
        saved::read_accounts(&saved).map_err(|error| error.to_string())
    }

    fn totals(&self, section: &[u8]) -> Result<LiveTotals, String> {
        let saved = SavedAccumulators::decode(section).map_err(|error| error.to_string())?;
        let activity = saved.activity.into_iter().map(|(key, counts)| {
            let count = |count: i64| u64::try_from(count).unwrap_or_default();
            let row = ActivityRow {
                creates: count(counts.creates),
                updates: count(counts.updates),
                deletes: count(counts.deletes),
                bytes: count(counts.bytes),
                accounts: count(counts.accounts),
                live: 0,
            };
            (key, row)
        });
        Ok(LiveTotals {
            activity: activity.collect(),
            counters: saved.counters,
            names: saved.names,
        })
    }
}
