//! `handles`: which accounts claim a handle.
//!
//! ```text
//! facts ─ newest handle of each account ─▶ rows
//! ```
//!
//! No state: the facts come and go one by one.

use skytide_core::view::{HandleKey, HandleRow, ViewId};
use timely::dataflow::operators::vec::Map;

use crate::fact::Fact;
use crate::types::{Facts, Quiet, Row, Rows};

/// Rows of `handles`.
pub fn handles<'s>(facts: Facts<'s>, quiet: Quiet) -> Rows<'s> {
    facts.flat_map(move |(fact, time, diff)| {
        let Fact::Identity(did, Some(handle), claimed) = fact else {
            return None;
        };
        if !quiet.tells(ViewId::Handles, time) {
            return None;
        }
        let key = HandleKey {
            handle: handle.to_lowercase().into(),
            did,
        };
        Some((
            Row::new(ViewId::Handles, &key, &HandleRow { claimed }),
            time,
            diff,
        ))
    })
}
