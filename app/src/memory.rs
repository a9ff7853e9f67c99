//! The allocator, mimalloc, and how long it retains free memory.
//!
//! The dataflow grows large tables and allocates many small records on several threads. The
//! system's allocator is slower at both.
//!
//! By default, mimalloc returns free memory to the system after one second. While a checkpoint is
//! restored, the dataflow needs that memory again at once, for facts in flight. The system then has
//! to clear the pages again; on virtual machines whose host has to find pages first, this took up
//! to half of the restart (`docs/decisions/0002-dataflow.md`). So this process retains free memory
//! until it has caught up, and then returns it as usual.

use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_set_default, mi_option_t, mi_process_info};
use mimalloc::MiMalloc;
use skytide_dataflow::Metrics;

#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3 (`include/mimalloc.h`), in milliseconds. The crate has no
/// constant for it.
const PURGE_DELAY: mi_option_t = 15;

/// The default delay.
const DEFAULT_DELAY_MS: std::ffi::c_long = 1_000;
/// The delay while a checkpoint is restored, which takes some seconds.
const RESTORE_DELAY_MS: std::ffi::c_long = 60_000;
/// Interval between two checks whether the dataflow has caught up.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Sets how long free memory stays with the process: a minute if `keep` is set, else a second.
/// `MIMALLOC_PURGE_DELAY` takes precedence if it is set.
pub fn keep_free_memory(keep: bool) {
    let delay_ms = match keep {
        true => RESTORE_DELAY_MS,
        false => DEFAULT_DELAY_MS,
    };
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: the option exists. It is one aligned number, so a concurrent reader gets the old
    // value or the new one.
    unsafe {
        mi_option_set_default(PURGE_DELAY, delay_ms);
    }
}

/// Returns the free memory to the system now, which takes some time for each gigabyte. By itself,
/// mimalloc returns it later: it schedules the return when the first memory becomes free, with the
/// delay at that moment. A shorter delay does not change the schedule, not even for memory that
/// becomes free afterwards.
pub fn return_free_memory() {
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: any thread may call it at any time. It does not touch memory that is in use.
    unsafe {
        mi_collect(true);
    }
}

/// Memory that the allocator obtained from the system and did not return, in bytes.
pub fn committed_bytes() -> u64 {
    let mut committed = 0;
    let none = std::ptr::null_mut();
    #[expect(unsafe_code, reason = "the allocator is a C library")]
    // SAFETY: any thread may call it at any time. It writes one number to each pointer that is not
    // null; the only one is valid during the call.
    unsafe {
        mi_process_info(none, none, none, none, none, &raw mut committed, none, none);
    }
    committed as u64
}

/// Retains free memory until the dataflow has caught up after a restart, then returns it.
pub async fn retain_until_caught_up(metrics: &Metrics) {
    keep_free_memory(true);
    let mut due = tokio::time::interval(POLL_INTERVAL);
    while metrics.epoch.get() == 0 || metrics.catching_up.get() != 0 {
        due.tick().await;
    }
    keep_free_memory(false);
    // Returning a gigabyte takes some time. The call cannot panic, and a runtime that is shutting
    // down may skip it.
    let _joined = tokio::task::spawn_blocking(return_free_memory).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use libmimalloc_sys::mi_option_get;
    use tokio::sync::Mutex;

    use super::*;

    /// The tests take turns, because the option is shared by all threads.
    static TURN: Mutex<()> = Mutex::const_new(());

    /// Resident memory of this process, in bytes.
    fn resident() -> usize {
        let status =
            std::fs::read_to_string("/proc/self/status").expect("the status of this process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("a size").parse::<usize>().expect("a number") << 10
    }

    #[test]
    fn the_option_number_is_the_purge_delay() {
        let delay = || {
            #[expect(unsafe_code, reason = "the allocator is a C library")]
            // SAFETY: the function only reads a number.
            unsafe {
                mi_option_get(PURGE_DELAY)
            }
        };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
            return;
        }
        let _turn = TURN.blocking_lock();
        let default = DEFAULT_DELAY_MS;
        assert_eq!(delay(), default, "another option has this number");
        keep_free_memory(true);
        assert_eq!(delay(), RESTORE_DELAY_MS);
        keep_free_memory(false);
        assert_eq!(delay(), default);
    }

    #[tokio::test]
    async fn free_memory_is_returned_once_the_dataflow_has_caught_up() {
        const BYTES: usize = 256 << 20;
        let _turn = TURN.lock().await;
        let metrics = Metrics::default();
        let retention = retain_until_caught_up(&metrics);
        tokio::pin!(retention);
        let pending = retention.as_mut().now_or_never().is_none();
        assert!(pending, "no epoch is committed yet");
        let filled = std::thread::spawn(|| {
            let records: Vec<_> = (0..BYTES >> 12).map(|_| vec![1_u8; 1 << 12]).collect();
            (resident(), records.len())
        });
        let (filled, _) = filled.join().expect("the thread ends");
        metrics.epoch.set(1);
        retention.await;
        let left = resident();
        assert!(left + BYTES / 2 < filled, "{filled} bytes, then {left}");
    }
}
