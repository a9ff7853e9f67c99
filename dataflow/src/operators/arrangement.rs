//! The size of an arrangement of differential dataflow: an index in sorted batches.
//!
//! A batch has one array each for keys, values, offsets, times and differences. Their capacities
//! are exact. What keys and values point to is projected from a sample, because an update has no
//! single owner: batches are merged again and again. The result of a merge in progress is not
//! visible, so it is counted when the merge is complete. Updates of incomplete times are not
//! counted either; they are gone when the time is complete.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::agent::trace_box::TraceBox;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::implementations::ord_neu::{OrdKeyBatch, OrdValBatch};
use differential_dataflow::trace::implementations::{OffsetList, Vector};

use crate::sizes::{COLLECTIONS, HeapSize, Size, Sizes, StateSizes, sampled_heap_bytes, vec_bytes};
use crate::types::Time;

/// An arrangement whose size is reported. It does not delay the compaction of the arrangement.
pub struct Arrangement<Tr: TraceReader> {
    name: &'static str,
    trace: Weak<RefCell<TraceBox<Tr>>>,
}

impl<Tr: TraceReader> Arrangement<Tr> {
    /// Reports the size of this arrangement under `name`.
    pub fn new(name: &'static str, trace: &TraceAgent<Tr>) -> Self {
        Self {
            name,
            trace: Rc::downgrade(&trace.trace_box_unstable()),
        }
    }
}

impl<Tr: TraceReader<Batch: BatchSize>> StateSizes for Arrangement<Tr> {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let mut size = Size::default();
        if let Some(trace) = self.trace.upgrade() {
            let trace = trace.borrow();
            trace.trace().map_spans(|span| {
                if let Some(batch) = &span.inner {
                    size.add(batch.size());
                }
            });
        }
        sizes.add(self.name, size, COLLECTIONS);
    }
}

/// A batch whose size can be computed without visiting all its updates.
pub trait BatchSize {
    /// Its updates, and the bytes of its arrays and of what its updates point to.
    fn size(&self) -> Size;
}

impl<B: BatchSize> BatchSize for Rc<B> {
    fn size(&self) -> Size {
        (**self).size()
    }
}

impl<K, V> BatchSize for OrdValBatch<Vector<((K, V), Time, i32)>>
where
    K: Ord + Clone + HeapSize + 'static,
    V: Ord + Clone + HeapSize + 'static,
{
    fn size(&self) -> Size {
        let (keys, vals, upds) = (&self.storage.keys, &self.storage.vals, &self.storage.upds);
        let keys_and_values = vec_bytes(keys) + vec_bytes(&vals.vals);
        let offsets = offset_bytes(&vals.offs) + offset_bytes(&upds.offs);
        let updates = vec_bytes(&upds.times) + vec_bytes(&upds.diffs);
        let pointed = heap_bytes(keys) + heap_bytes(&vals.vals);
        Size {
            entries: self.updates,
            bytes: keys_and_values + offsets + updates + pointed,
        }
    }
}

impl<K> BatchSize for OrdKeyBatch<Vector<((K, ()), Time, i32)>>
where
    K: Ord + Clone + HeapSize + 'static,
{
    fn size(&self) -> Size {
        let (keys, upds) = (&self.storage.keys, &self.storage.upds);
        let updates = vec_bytes(&upds.times) + vec_bytes(&upds.diffs) + offset_bytes(&upds.offs);
        Size {
            entries: self.updates,
            bytes: vec_bytes(keys) + updates + heap_bytes(keys),
        }
    }
}

fn offset_bytes(offsets: &OffsetList) -> usize {
    vec_bytes(&offsets.smol) + vec_bytes(&offsets.chonk)
}

fn heap_bytes<T: HeapSize>(entries: &[T]) -> usize {
    sampled_heap_bytes(std::iter::once(entries))
}
