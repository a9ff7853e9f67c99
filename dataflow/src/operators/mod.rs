//! Operators and tables that differential dataflow does not offer, or offers at a higher cost
//! (`docs/decisions/0002-dataflow.md`).

pub mod arrangement;
pub mod chunked_vec;
pub mod count;
pub mod flat_map_facts;
pub mod interner;
pub mod lists;
pub mod named;
pub mod on_tick;
pub mod slab;
pub mod top_candidates;
pub mod windows;
