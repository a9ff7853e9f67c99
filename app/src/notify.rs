//! What a service manager learns of this process (<https://www.freedesktop.org/software/systemd/man/sd_notify.html>).
//!
//! ```text
//! services started ─▶ READY=1 ─▶ every few seconds: a task of the runtime ran ─▶ WATCHDOG=1 ─▶ … ─▶ STOPPING=1
//!                                                   what is not ready changed ─▶ STATUS=…
//! ```
//!
//! The manager says in the environment where it listens; without that nothing is sent. It restarts a process that sends
//! no `WATCHDOG=1` in time, so each one proves that the runtime still runs tasks and timers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use skytide_api::Health;
use tokio::time::{MissedTickBehavior, interval};

/// How often the status is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a status at most.
const STATUS_BYTES_MAX: usize = 500;

/// Where a message goes.
type Sink = fn(&[NotifyState<'_>]);

/// The service manager.
pub struct Manager {
    health: Option<Arc<dyn Health>>,
    /// Within this time it expects to hear from the process; `None`: it does not.
    watchdog: Option<Duration>,
    status: String,
    send: Sink,
}

impl Manager {
    /// The one that the environment names; it learns of the parts of `health`.
    pub fn new(health: Option<Arc<dyn Health>>) -> Self {
        Self {
            health,
            watchdog: sd_notify::watchdog_enabled(),
            status: String::new(),
            send,
        }
    }

    /// All services have started.
    pub fn ready(&self) {
        (self.send)(&[NotifyState::Ready]);
    }

    /// The process ends.
    pub fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        self.health = None;
    }

    /// Keeps the manager informed for as long as this is awaited.
    pub async fn keep_informed(&mut self) -> Infallible {
        // Two of three may be late.
        let every = self
            .watchdog
            .map_or(STATUS_EVERY, |it| it / 3)
            .min(STATUS_EVERY);
        let mut due = interval(every.max(Duration::from_millis(1)));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            // Timers may go on while every worker thread is blocked: then this task never runs.
            if tokio::spawn(async {}).await.is_err() {
                continue;
            }
            if self.watchdog.is_some() {
                (self.send)(&[NotifyState::Watchdog]);
            }
            self.tell_status();
        }
    }

    fn tell_status(&mut self) {
        let Some(health) = &self.health else {
            return;
        };
        let status = words(&**health);
        if status != self.status {
            (self.send)(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// The command has begun; its services have not.
pub fn starting() {
    send(&[NotifyState::Status("opening the log and the views")]);
}

/// How the parts do, in one line.
fn words(health: &dyn Health) -> String {
    let parts = health.parts();
    let wrong = parts.iter().filter(|part| !part.ok);
    let wrong: Vec<_> = wrong
        .map(|part| format!("{}: {}", part.name, part.detail))
        .collect();
    if wrong.is_empty() {
        return "ready".to_owned();
    }
    let line = format!("not ready: {}", wrong.join("; ")).replace(char::is_control, " ");
    line[..line.floor_char_boundary(STATUS_BYTES_MAX)].to_owned()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be reached");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use skytide_api::Part;

    struct Parts(Vec<(&'static str, bool)>);

    impl Health for Parts {
        fn parts(&self) -> Vec<Part> {
            let part = |(name, ok): &(&str, bool)| Part {
                name: (*name).to_owned(),
                ok: *ok,
                detail: "no answer\nfor 3 s".to_owned(),
            };
            self.0.iter().map(part).collect()
        }
    }

    #[test]
    fn the_status_names_what_is_not_ready_in_one_line_of_bounded_length() {
        assert_eq!(words(&Parts(vec![("log", true)])), "ready");
        let parts = Parts(vec![("log", false), ("relay", true), ("views", false)]);
        let expected = "not ready: log: no answer for 3 s; views: no answer for 3 s";
        assert_eq!(words(&parts), expected);
        let many = words(&Parts(vec![("ü", false); 1_000]));
        assert!(many.len() <= STATUS_BYTES_MAX && many.starts_with("not ready: ü"));
    }

    static WATCHDOGS: AtomicU32 = AtomicU32::new(0);

    fn count(states: &[NotifyState<'_>]) {
        let watchdogs = states
            .iter()
            .filter(|it| matches!(it, NotifyState::Watchdog))
            .count();
        WATCHDOGS.fetch_add(watchdogs as u32, Ordering::SeqCst);
    }

    #[test]
    fn the_watchdog_is_fed_only_while_the_runtime_runs_tasks() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (release, blocked) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        runtime.spawn(async move {
            began.send(()).expect("the test listens");
            // The only thread is stuck, as in a system call on a file that does not return.
            let _released = blocked.recv();
        });
        begins.recv().expect("it began");
        let mut manager = Manager {
            health: None,
            watchdog: Some(Duration::from_secs(1)),
            status: String::new(),
            send: count,
        };
        let _runtime = runtime.enter();
        let mut informing = pin!(manager.keep_informed());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(informing.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(WATCHDOGS.load(Ordering::SeqCst), 0);
        drop(release);
        runtime.block_on(async {
            tokio::select! {
                never = informing => match never {},
                () = async {
                    while WATCHDOGS.load(Ordering::SeqCst) == 0 {
                        tokio::task::yield_now().await;
                    }
                } => {}
            }
        });
    }
}
