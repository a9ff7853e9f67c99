//! Where all memory comes from.
//!
//! Large tables grow and many small records come and go on several threads, which the system's allocator serves slower; and
//! mimalloc, left to itself, gives what is free back to the system within a second. While a checkpoint is taken in that
//! is room for facts under way, which is needed again at once: the system then clears it anew, which on virtual machines
//! whose host has to find the pages took up to half of a restart's time (`docs/decisions/0002-dataflow.md`). So it is kept until
//! then, and given back as usual later.

use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;
use skytide_dataflow::Metrics;

#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3 (`include/mimalloc.h`), in milliseconds; the crate has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// The delay by default, and while a checkpoint is taken in, which takes some seconds.
const DELAYS_MS: [std::ffi::c_long; 2] = [1_000, 60_000];

/// Whether memory that is free stays with the process for a minute, or for a second only. `MIMALLOC_PURGE_DELAY` says otherwise
/// if it is set.
pub fn keep_free_memory(keep: bool) {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: the option exists, and what is stored is one aligned number: who reads it meanwhile has the one or the other.
    unsafe {
        mi_option_set_default(PURGE_DELAY, DELAYS_MS[usize::from(keep)]);
    }
}

/// How often it is looked whether the dataflow has caught up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Gives back what is free now. When that was to happen by itself was settled when the first of it became free, by the delay
/// of that time, and nothing that becomes free later goes before it.
fn give_free_memory_back() {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: it may be called at any time, by any thread, and touches nothing that is in use.
    unsafe {
        mi_collect(true);
    }
}

/// Keeps free memory until all is counted that was counted before a restart, and then gives it back.
pub async fn keep_until_caught_up(metrics: &Metrics) {
    keep_free_memory(true);
    let mut look = tokio::time::interval(LOOK_EVERY);
    while metrics.epoch.get() == 0 || metrics.catching_up.get() != 0 {
        look.tick().await;
    }
    keep_free_memory(false);
    // It may be a gigabyte, which takes its time. It cannot panic, and a runtime that ends does without it.
    let _ended = tokio::task::spawn_blocking(give_free_memory_back).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use libmimalloc_sys::mi_option_get;
    use tokio::sync::Mutex;

    use super::*;

    /// The option is one for all threads.
    static ALONE: Mutex<()> = Mutex::const_new(());

    /// Bytes of memory that this process has.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("a size").parse::<usize>().expect("a number") << 10
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        let delay = || {
            #[expect(unsafe_code, reason = "the allocator is a C library")]
            // SAFETY: it reads a number.
            unsafe {
                mi_option_get(PURGE_DELAY)
            }
        };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
            return;
        }
        let _alone = ALONE.blocking_lock();
        let [usual, long] = DELAYS_MS;
        assert_eq!(delay(), usual, "the default: is this another option?");
        keep_free_memory(true);
        assert_eq!(delay(), long);
        keep_free_memory(false);
        assert_eq!(delay(), usual);
    }

    #[tokio::test]
    async fn what_was_kept_is_given_back_as_soon_as_it_has_caught_up() {
        const BYTES: usize = 256 << 20;
        let _alone = ALONE.lock().await;
        let metrics = Metrics::default();
        let keeping = keep_until_caught_up(&metrics);
        tokio::pin!(keeping);
        assert!(keeping.as_mut().now_or_never().is_none(), "nothing counted");
        let filled = std::thread::spawn(|| {
            let records: Vec<_> = (0..BYTES >> 12).map(|_| vec![1_u8; 1 << 12]).collect();
            (resident(), records.len())
        });
        let (filled, _) = filled.join().expect("it ends");
        metrics.epoch.set(1);
        keeping.await;
        let kept = resident();
        assert!(kept + BYTES / 2 < filled, "{filled} bytes, then {kept}");
    }
}
