//! Events that are read again, as after a change of relay and back.

use super::*;

#[test]
fn a_commit_that_is_not_newer_is_dropped_and_counted_by_operation() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &post(vec![])).tick_after(0);
    let again = [
        log.op(Action::Create, [POST, "2"], Some(&post(vec![]))),
        log.op(Action::Delete, [POST, "1"], None),
    ];
    log.seq += 1;
    for (index, body) in (0..).zip(again) {
        log.body(log.seq, index, "ana", body);
    }
    log.tick_after(0);
    assert_eq!(
        (log.actor("ana").posts, log.counter("dropped/rev_repeated")),
        (1, 2)
    );
}

impl Script {
    /// An event of `ana` as a relay passes it on, in an epoch of its own.
    fn by(&mut self, relay: &str, body: Body) {
        self.seq += 1;
        let event = Event {
            host: relay.into(),
            seq: Cursor(self.seq),
            index: 0,
            time: self.time,
            did: did("ana"),
            body,
        };
        self.model.read(&Message::Event(event));
        self.tick_after(0);
    }

    /// A status that her host sent at this time.
    fn status_by(&mut self, relay: &str, sent: Option<u64>, active: bool) {
        let body = Body::Account {
            active,
            status: None,
            sent: sent.map(Timestamp),
        };
        self.by(relay, body);
    }

    /// The number of visible posts of `ana`, her counted statuses and the repeated ones.
    fn seen(&self) -> (u64, u64, u64) {
        let key = ActivityKey {
            span: Span::All,
            start_minute: 0,
            collection: "#account".into(),
        };
        let row: ActivityRow = self.get(ViewId::Activity, &key).expect("there is a status");
        let repeated = self.counter("dropped/announcement_repeated");
        (u64::from(self.actor("ana").posts), row.creates, repeated)
    }
}

#[test]
fn a_status_that_another_relay_repeats_does_not_replace_a_newer_one() {
    let mut log = script(Policy::ActiveAccountsOnly);
    log.create("ana", [POST, "1"], &post(vec![])).tick_after(0);
    log.status_by("relay", Some(10), true);
    log.status_by("relay", Some(20), false);
    assert_eq!(log.seen(), (0, 2, 0));
    // The other relay was read before, up to an earlier position, and is left before it catches up.
    log.status_by("second", Some(10), true);
    assert_eq!(log.seen(), (0, 2, 1));
    log.status_by("relay", Some(30), true);
    assert_eq!(log.seen(), (1, 3, 1));
    // This time it catches up. From then on, its order decides, also if a clock is wrong.
    log.status_by("second", Some(20), false);
    log.status_by("second", Some(30), true);
    assert_eq!(log.seen(), (1, 3, 3));
    log.status_by("second", Some(25), false);
    assert_eq!(log.seen(), (0, 4, 3));
    // A relay may have changed the status that it repeats.
    log.status_by("relay", Some(25), true);
    assert_eq!(log.seen(), (1, 4, 4));
    log.status_by("second", Some(25), false);
    assert_eq!(log.seen(), (0, 4, 5));
    // Without a time, the order of the log decides.
    log.status_by("relay", None, true);
    assert_eq!(log.seen(), (1, 5, 5));
}

#[test]
fn a_handle_that_another_relay_repeats_does_not_replace_a_newer_one() {
    let mut log = script(Policy::OpsOnly);
    for (relay, sent, handle) in [
        ("relay", 10, "old.example"),
        ("relay", 20, "new.example"),
        ("second", 10, "old.example"),
        ("second", 20, "new.example"),
    ] {
        let body = Body::Identity {
            handle: Some(handle.into()),
            sent: Some(Timestamp(sent)),
        };
        log.by(relay, body);
    }
    let row: AccountRow = log.get(ViewId::Accounts, &did("ana")).expect("a row");
    assert_eq!(row.handle.as_deref(), Some("new.example"));
    assert_eq!(log.counter("dropped/announcement_repeated"), 2);
}
