//! The frame decoder: it never panics. A frame that passes full verification passes the lesser
//! level with the same result.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_core::record;
use skytide_ingest::frame::{Frame, OPS_MAX, Verify, decode};

fuzz_target!(|bytes: &[u8]| {
    let lesser = decode(bytes, Verify::Records);
    let full = decode(bytes, Verify::Blocks);
    if full.is_ok() {
        assert_eq!(full, lesser, "passes with every block checked");
    }
    if let Ok(Frame::Commit(commit)) = lesser {
        assert!(commit.ops.is_sorted_by_key(|op| op.index));
        assert!(commit.ops.iter().all(|op| op.index < OPS_MAX));
        for op in &commit.ops {
            assert!(op.cid.is_some() || op.record.is_none());
            let _ = op.record.map(|bytes| record::parse(op.collection, bytes));
        }
    }
});
