//! Where all memory comes from.
//!
//! Large tables grow and many small records come and go on several threads, which the system's allocator serves slower; and
//! mimalloc, left to itself, gives what is free back to the system within a second. While a checkpoint is taken in that
//! is room for facts under way, which is needed again at once: the system then clears it anew, which on virtual machines
//! whose host has to find the pages took up to half of a restart's time (`docs/decisions/0002-dataflow.md`).

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3 (`include/mimalloc.h`), in milliseconds; the crate has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// As a restart takes some seconds: a minute.
const DELAY_MS: std::ffi::c_long = 60_000;

/// Memory that is free stays with the process for a minute, or as `MIMALLOC_PURGE_DELAY` says. To be called once, before there
/// are other threads.
pub fn keep_free_memory() {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: it stores a number; the option exists, and no other thread reads it meanwhile.
    unsafe {
        mi_option_set_default(PURGE_DELAY, DELAY_MS);
    }
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
        assert!(
            [1_000, DELAY_MS].contains(&delay()),
            "by default memory is given back after a second, not after {} ms: is this another option?",
            delay()
        );
        keep_free_memory();
        assert_eq!(delay(), DELAY_MS);
    }
}
