//! Signals that stop the process, and the limit on how long stopping takes.
//!
//! ```text
//! first SIGINT, SIGTERM, SIGHUP ─▶ stop: the services end ─┬─ they do, in time ──────────▶ their exit code
//!                                                          ├─ another signal ────────────▶ exit at once, 128 + its number
//!                                                          └─ SKYTIDE_SHUTDOWN_MAX later ▶ exit at once, 1
//! ```
//!
//! Signals have a thread of their own, with its own small runtime: whatever the threads of the services wait for, the
//! process ends. Nothing durable can be damaged by that: what was not acknowledged is done again by the next start.
//!
//! SIGHUP, which a closed terminal sends, ends the process as SIGTERM does. Where it is ignored at the start, as under
//! `nohup`, it stays ignored.

use std::process;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::terminal::note;

/// Cancelled by the first signal. After `shutdown_max` the process exits, whatever it is doing.
pub fn on_signal(shutdown_max: Duration) -> CancellationToken {
    let stop = CancellationToken::new();
    let (caught, when_caught) = std::sync::mpsc::channel();
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let Some(signals) = Signals::catch() else {
                return;
            };
            let _starting = caught.send(());
            end(signals, &stopped, shutdown_max).await;
        });
    });
    // A signal that comes before this is the system's to handle: there is nothing to end cleanly yet.
    if spawned.is_err() || when_caught.recv().is_err() {
        tracing::error!("signals cannot be caught: the process will not end cleanly");
    }
    stop
}

async fn end(mut signals: Signals, stop: &CancellationToken, shutdown_max: Duration) {
    signals.next().await;
    tracing::info!("stopping; another signal, such as Ctrl-C, ends the process at once");
    stop.cancel();
    tokio::select! {
        number = signals.next() => process::exit(128 + number),
        () = tokio::time::sleep(shutdown_max) => {
            note(&overdue(shutdown_max));
            process::exit(1);
        }
    }
}

/// What is said when the process ends without its services.
fn overdue(shutdown_max: Duration) -> String {
    format!(
        "error: the process did not end within {} s: it exits without its services, nothing is lost (SKYTIDE_SHUTDOWN_MAX)",
        shutdown_max.as_secs_f64()
    )
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None`: it is ignored.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn catch() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let status = std::fs::read_to_string("/proc/self/status").ok();
        let hangup = status.is_some_and(|status| !ignores_hangup(&status));
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
            hangup: match hangup {
                true => Some(signal(SignalKind::hangup()).ok()?),
                // Where nobody says whether it is ignored, the system does what it did: end the process, or nothing.
                false => None,
            },
        })
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
            _ = hangup => 1,
        }
    }
}

/// Whether a process with this status was started with SIGHUP ignored: bit 0 of the mask
/// (<https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>).
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn catch() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> i32 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 2,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_mask_says_whether_a_hangup_is_ignored() {
        let status = |mask| format!("Name:\tskytide\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup("Name:\tskytide\n"));
    }
}
