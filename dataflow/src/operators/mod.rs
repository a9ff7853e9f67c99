//! Operators of our own: what differential's do not offer, or offer at a higher price (`docs/decisions/0002-dataflow.md`).

pub mod boards;
pub mod count;
pub mod interner;
pub mod lists;
pub mod of_facts;
pub mod on_tick;
pub mod pieces;
pub mod slab;
pub mod windows;
