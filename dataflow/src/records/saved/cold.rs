//! Reads records that are only on disk.

use std::sync::Arc;

use skytide_core::id::{Did, Rkey};
use skytide_state::{Lookup, Run, StateError};

use super::bytes::{Reader, Unreadable};
use super::entries::{GONE, record_key, visit_records};
use super::load::read_record;
use crate::records::state::LiveRecords;
use crate::records::table::LiveRecord;

/// Why a record cannot be read from runs.
#[derive(Debug, thiserror::Error)]
pub(in crate::records) enum ColdError {
    /// A run cannot be read, or is damaged.
    #[error(transparent)]
    Run(#[from] StateError),
    /// An entry is not in the format of this version.
    #[error(transparent)]
    Entry(#[from] Unreadable),
}

/// Reads a record of a collection, given by its number and its name; `None` if it is not live. Adds
/// the number of blocks that were read to `reads`.
pub(in crate::records) fn cold_record(
    state: &mut LiveRecords,
    runs: &[Arc<Run>],
    ((did, number, name), rkey): ((&Did, u32, &str), &Rkey),
    reads: &mut u64,
) -> Result<Option<LiveRecord>, ColdError> {
    let key = record_key(did, name, rkey);
    for run in runs.iter().filter(|run| run.may_contain(&key)) {
        *reads += 1;
        match run.get(&key)? {
            Lookup::Unknown => {}
            Lookup::Removed => return Ok(None),
            Lookup::Found(value) if *value == [GONE] => return Ok(None),
            Lookup::Found(value) => {
                let mut value = Reader(&value);
                let record = read_record(state, (did, number), rkey.clone(), &mut value)?;
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

/// Reads all live records of an account.
pub(in crate::records) fn cold_records(
    state: &mut LiveRecords,
    runs: &[Arc<Run>],
    did: &Did,
) -> Result<Vec<LiveRecord>, ColdError> {
    let mut records = Vec::new();
    visit_records(runs, did, |name, rkey, value| {
        let number = state.collection(name);
        records.push(read_record(state, (did, number), rkey, value)?);
        Ok(())
    })??;
    Ok(records)
}
