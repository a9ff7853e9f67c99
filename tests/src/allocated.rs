//! An allocator that counts, for tests that compare memory with the bytes of their input.
//!
//! Bytes as they are asked for, of all threads: the same for every allocator below. A test that looks at them has its process
//! for itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and what it was asked for.
#[derive(Debug)]
pub struct Counting {
    now: AtomicUsize,
    peak: AtomicUsize,
    total: AtomicUsize,
}

/// What some work took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Bytes held at once, beyond those that were held at its beginning.
    pub peak: usize,
    /// Bytes asked for in all.
    pub total: usize,
}

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

impl Counting {
    /// Nothing was asked for yet.
    pub const fn new() -> Self {
        Self {
            now: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
        }
    }

    /// Does some work; answers what it took. Work of other threads counts, too.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> (T, Used) {
        let (now, total) = (self.now.load(Relaxed), self.total.load(Relaxed));
        self.peak.store(now, Relaxed);
        let done = work();
        let used = Used {
            peak: self.peak.load(Relaxed).saturating_sub(now),
            total: self.total.load(Relaxed) - total,
        };
        (done, used)
    }

    fn takes(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
        self.total.fetch_add(bytes, Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: all is passed to the system's allocator as it comes; the counters touch none of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.takes(layout.size());
        // SAFETY: the caller keeps what `alloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps what `dealloc` demands.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.takes(size);
        self.now.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps what `realloc` demands.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
