//! `handles`: which accounts claim a handle.
//!
//! ```text
//! facts ─ newest handle of each account ─▶ rows
//! ```
//!
//! No state: each identity fact is inserted and retracted as one row.

use skytide_core::view::{HandleKey, HandleRow, ViewId};

use crate::fact::Fact;
use crate::operators::flat_map_facts::flat_map_facts;
use crate::types::{Facts, Row, Rows, SuppressedRows};

/// Computes the rows of `handles`.
pub fn handles<'s>(facts: Facts<'s>, suppressed: SuppressedRows) -> Rows<'s> {
    flat_map_facts(facts, "Handles", move |fact, time, diff, rows| {
        let Fact::Identity(did, Some(handle), claimed) = fact else {
            return;
        };
        if !suppressed.emits(ViewId::Handles, time) {
            return;
        }
        let key = HandleKey {
            handle: handle.clone().into(),
            did: did.clone(),
        };
        let columns = HandleRow { claimed: *claimed };
        rows.push((Row::new(ViewId::Handles, &key, &columns), time, diff));
    })
}
