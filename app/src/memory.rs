//! Where all memory comes from.
//!
//! Large tables grow and many small records come and go on several threads, which the system's allocator serves slower; and
//! mimalloc, left to itself, gives what is free back to the system within a second. While a checkpoint is taken in that
//! is room for facts under way, which is needed again at once: the system then clears it anew, which on virtual machines
//! whose host has to find the pages took up to half of a restart's time (`docs/decisions/0002-dataflow.md`). So it is kept until
//! then, and given back as usual later.

use std::time::Duration;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
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

/// Keeps free memory until all is counted that was counted before a restart.
pub async fn keep_until_caught_up(metrics: &Metrics) {
    keep_free_memory(true);
    let mut look = tokio::time::interval(LOOK_EVERY);
    while metrics.epoch.get() == 0 || metrics.catching_up.get() != 0 {
        look.tick().await;
    }
    keep_free_memory(false);
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

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
        let [usual, long] = DELAYS_MS;
        assert_eq!(delay(), usual, "the default: is this another option?");
        keep_free_memory(true);
        assert_eq!(delay(), long);
        keep_free_memory(false);
        assert_eq!(delay(), usual);
    }
}
