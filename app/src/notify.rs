//! Notifications to a service manager such as systemd
//! (<https://www.freedesktop.org/software/systemd/man/sd_notify.html>).
//!
//! ```text
//! services started ─▶ READY=1 ─▶ every few seconds: the runtime ran a task ─▶ WATCHDOG=1 ─▶ … ─▶ STOPPING=1
//!                                                   the status changed     ─▶ STATUS=…
//! ```
//!
//! The environment names the socket of the service manager; without it nothing is sent. The service
//! manager restarts a process that sends no `WATCHDOG=1` in time. So each `WATCHDOG=1` must prove
//! that the runtime still runs tasks and timers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use skytide_api::Health;
use skytide_core::port::wait::WaitWord;
use tokio::time::{MissedTickBehavior, interval};

/// Interval between two checks of the status.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum size of a status, in bytes.
const STATUS_BYTES_MAX: usize = 500;

/// Sends a notification.
type Sink = fn(&[NotifyState<'_>]);

/// The service manager that started this process, if one did.
pub struct ServiceManager {
    health: Option<Arc<dyn Health>>,
    /// The longest time between two `WATCHDOG=1`; `None` if the service manager expects none.
    watchdog: Option<Duration>,
    status: String,
    send: Sink,
}

impl ServiceManager {
    /// The service manager that the environment names. It receives the status of `health`.
    pub fn new(health: Option<Arc<dyn Health>>) -> Self {
        Self {
            health,
            watchdog: sd_notify::watchdog_enabled(),
            status: String::new(),
            send,
        }
    }

    /// Reports that all services have started.
    pub fn ready(&self) {
        (self.send)(&[NotifyState::Ready]);
    }

    /// Reports that the process stops.
    pub fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        self.health = None;
    }

    /// Sends `WATCHDOG=1` and the status at intervals, until the future is dropped.
    pub async fn keep_informed(&mut self) -> Infallible {
        // Three times in each watchdog period, so that two of them may be late.
        let every = self
            .watchdog
            .map_or(STATUS_INTERVAL, |it| it / 3)
            .min(STATUS_INTERVAL);
        let mut due = interval(every.max(Duration::from_millis(1)));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            // Timers can fire while every worker thread is blocked; a spawned task then never runs.
            if tokio::spawn(async {}).await.is_err() {
                continue;
            }
            if self.watchdog.is_some() {
                (self.send)(&[NotifyState::Watchdog]);
            }
            self.send_status();
        }
    }

    fn send_status(&mut self) {
        let Some(health) = &self.health else {
            return;
        };
        let status = status_line(&**health);
        if status != self.status {
            (self.send)(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// Reports that the command has started and its services have not.
pub fn starting() {
    send(&[NotifyState::Status("opening the log and the views")]);
}

/// What the pipeline waits for in one line; if nothing, the parts that do not work.
fn status_line(health: &dyn Health) -> String {
    let wait = health.waits_for();
    let parts = health.parts();
    let not_ready = parts.iter().filter(|part| !part.ok);
    let not_ready: Vec<_> = not_ready
        .map(|part| format!("{}: {}", part.name, part.detail.public()))
        .collect();
    let line = match wait.word {
        WaitWord::Nothing if not_ready.is_empty() => return "ready".to_owned(),
        WaitWord::Nothing => format!("not ready: {}", not_ready.join("; ")),
        word => format!("waits for {}: {}", word.as_str(), wait.sentence.public()),
    };
    let line = line.replace(char::is_control, " ");
    line[..line.floor_char_boundary(STATUS_BYTES_MAX)].to_owned()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot send a notification to the service manager");
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
    use skytide_core::port::explanation::Explanation;
    use skytide_core::port::wait::Wait;

    struct Parts(Vec<(&'static str, bool)>);

    impl Health for Parts {
        fn parts(&self) -> Vec<Part> {
            let part = |(name, ok): &(&str, bool)| Part {
                name: (*name).to_owned(),
                ok: *ok,
                detail: Explanation::with_private("no answer\nfor 3 s", "db.example"),
            };
            self.0.iter().map(part).collect()
        }
    }

    #[test]
    fn the_status_names_the_parts_that_are_not_ready_in_one_line_of_bounded_length() {
        assert_eq!(status_line(&Parts(vec![("log", true)])), "ready");
        let parts = Parts(vec![("log", false), ("relay", true), ("views", false)]);
        let expected = "not ready: log: no answer for 3 s; views: no answer for 3 s";
        assert_eq!(status_line(&parts), expected);
        let many = status_line(&Parts(vec![("ü", false); 1_000]));
        assert!(many.len() <= STATUS_BYTES_MAX && many.starts_with("not ready: ü"));
    }

    #[test]
    fn the_status_is_what_the_pipeline_waits_for() {
        struct Waiting;
        impl Health for Waiting {
            fn parts(&self) -> Vec<Part> {
                Parts(vec![("log", false)]).parts()
            }
            fn waits_for(&self) -> Wait {
                let sentence = Explanation::with_private("it needs 2.4 s a commit", "db.example");
                Wait::new(WaitWord::Store, sentence)
            }
        }
        let expected = "waits for store: it needs 2.4 s a commit";
        assert_eq!(status_line(&Waiting), expected);
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
    fn a_watchdog_message_is_sent_only_while_the_runtime_runs_tasks() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (release, blocked) = mpsc::channel::<()>();
        let (started, when_started) = mpsc::channel();
        runtime.spawn(async move {
            started.send(()).expect("the test waits");
            // Blocks the only thread, as a system call on a file that never returns would.
            let _released = blocked.recv();
        });
        when_started.recv().expect("the task runs");
        let mut manager = ServiceManager {
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
