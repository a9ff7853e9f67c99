//! Signals that stop the process, and the limit on how long stopping takes.
//!
//! ```text
//! first SIGINT, SIGTERM, SIGHUP ─▶ stop the services ─┬─ they exit in time ──────────▶ their exit code
//!                                                     ├─ another signal ─────────────▶ exit at once, 128 + its number
//!                                                     └─ after SKYTIDE_SHUTDOWN_MAX ─▶ exit at once, 1
//! ```
//!
//! Signals are handled on a thread of their own with a small runtime, so the process exits even if
//! all threads of the services are blocked. An exit at once damages no durable data: the next start
//! repeats the work that was not acknowledged.
//!
//! SIGHUP, which a closed terminal sends, has the same effect as SIGTERM. If SIGHUP is ignored at
//! the start, as under `nohup`, it stays ignored.

use std::process;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::flight;
use crate::log_queue;

/// How long the exit at once waits for the last lines on standard error, and for the flight record of
/// a stop that takes too long.
const LAST_WRITES_MAX: Duration = Duration::from_secs(2);

/// Returns a token that the first signal cancels. The process exits at the latest `shutdown_max`
/// after that signal; two seconds later if standard error or the disk accepts nothing.
pub fn on_signal(shutdown_max: Duration) -> CancellationToken {
    let stop = CancellationToken::new();
    let (installed, when_installed) = std::sync::mpsc::channel();
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
            let _received = installed.send(());
            handle(signals, &stopped, shutdown_max).await;
        });
    });
    // Before the handlers are installed, the system's default applies: a signal ends the process,
    // which has nothing to stop cleanly yet.
    if spawned.is_err() || when_installed.recv().is_err() {
        tracing::error!("cannot install signal handlers: the process will not stop cleanly");
    }
    stop
}

async fn handle(mut signals: Signals, stop: &CancellationToken, shutdown_max: Duration) {
    signals.next().await;
    tracing::info!("stopping; another signal, such as Ctrl-C, ends the process at once");
    stop.cancel();
    tokio::select! {
        number = signals.next() => {
            exit(128 + number, [Box::new(log_queue::flush)])
        }
        () = tokio::time::sleep(shutdown_max) => {
            let what = overdue(shutdown_max);
            let error = what.clone();
            let record: LastWrite = Box::new(move || flight::on_failure_text(&error));
            exit(1, [record, Box::new(move || log_queue::last_line(&what))])
        }
    }
}

/// What is written before the process ends.
type LastWrite = Box<dyn FnOnce() + Send>;

/// Ends the process after these writes. Each has a thread of its own, and all together have
/// [`LAST_WRITES_MAX`]: standard error or the disk may accept nothing, and a write then never ends.
fn exit<const WRITES: usize>(code: i32, writes: [LastWrite; WRITES]) -> ! {
    let until = Instant::now() + LAST_WRITES_MAX;
    let (written, when_written) = std::sync::mpsc::channel();
    for write in writes {
        let written = written.clone();
        let thread = std::thread::Builder::new().name("last writes".to_owned());
        // Without a thread, its sender is dropped, and nothing waits for it.
        let _spawned = thread.spawn(move || {
            write();
            let _received = written.send(());
        });
    }
    drop(written);
    // Ends when all have been written, or when the time has passed.
    while let Ok(()) = when_written.recv_timeout(until.saturating_duration_since(Instant::now())) {}
    process::exit(code)
}

/// The message when the process exits before its services have stopped.
fn overdue(shutdown_max: Duration) -> String {
    format!(
        "error: the services did not stop within {} s: the process exits without waiting for them, and no \
         data are lost (SKYTIDE_SHUTDOWN_MAX)",
        shutdown_max.as_secs_f64()
    )
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` if SIGHUP is ignored.
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
                // Without a handler SIGHUP keeps the effect that it had at the start, which is
                // right if it was ignored, and also if the status cannot be read.
                false => None,
            },
        })
    }

    /// Waits for the next signal and returns its number.
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

/// Whether a process with this status was started with SIGHUP ignored: bit 0 of the mask `SigIgn`
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
    fn the_signal_mask_shows_whether_a_hangup_is_ignored() {
        let status = |mask| format!("Name:\tskytide\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(ignores_hangup(&status("0000000000001001")));
        assert!(!ignores_hangup(&status("0000000000001000")));
        assert!(!ignores_hangup("Name:\tskytide\n"));
    }
}
