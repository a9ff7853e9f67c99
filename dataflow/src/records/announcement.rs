//! Which of the `#identity` and `#account` events of an account is the newest one.
//!
//! These events have no revision. Within one relay, the order of the stream decides. After a change
//! to another relay, ingest resumes at its last position there and may read events again that the
//! log already contains from the first relay. If it changes back before it has caught up, the last
//! event in the log is an outdated one. So events of different relays are compared by the time at
//! which the account's host sent them. Relays pass that time on, while handle and status may differ:
//! a relay omits a handle that it could not confirm, and adds its own takedowns
//! (`cmd/relay/relay/ingest.go` of <https://github.com/bluesky-social/indigo>).

use skytide_core::event::Origin;
use skytide_core::id::{Did, Handle};
use skytide_core::time::Timestamp;

use crate::fact::Fact;

/// An event in relation to the newest one of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::records) enum Order {
    /// It is the next one.
    Next,
    /// Another relay repeats the newest one.
    Same,
    /// Another relay repeats one that was sent before.
    Older,
}

impl Order {
    /// Compares an event with the newest one.
    pub fn of(event: Origin, newest: Option<Origin>) -> Self {
        let Some(newest) = newest.filter(|newest| newest.relay != event.relay) else {
            return Self::Next;
        };
        match (event.sent, newest.sent) {
            (Some(event), Some(newest)) if event < newest => Self::Older,
            (Some(event), Some(newest)) if event == newest => Self::Same,
            _ => Self::Next,
        }
    }
}

/// When and from where an event came.
#[derive(Clone, Copy, Debug)]
pub(in crate::records) struct Announced {
    /// Network time of the event.
    pub time: Timestamp,
    /// Its relay, and when it was sent.
    pub origin: Origin,
}

impl Announced {
    /// An event without a known time of sending.
    #[cfg(test)]
    pub fn at(time: Timestamp) -> Self {
        let origin = Origin::new("relay.example", None);
        Self { time, origin }
    }
}

/// The newest `#identity` that changed something.
#[derive(Clone, Debug)]
pub(in crate::records) struct Identity {
    /// The handle, if the account has one.
    pub handle: Option<Handle>,
    /// Network time of the event.
    pub time: Timestamp,
    /// `None` if an older version stored it.
    pub origin: Option<Origin>,
}

impl Identity {
    /// The fact that the views read.
    pub fn fact(&self, did: &Did) -> Fact {
        Fact::Identity(did.clone(), self.handle.clone(), self.time)
    }
}

/// The newest `#account`.
#[derive(Clone, Debug)]
pub(in crate::records) struct Status {
    /// Whether the account is active.
    pub active: bool,
    /// The text of the status.
    pub text: Option<Box<str>>,
    /// `None` if an older version stored it.
    pub origin: Option<Origin>,
}

impl Status {
    /// The fact that the views read.
    pub fn fact(&self, did: &Did) -> Fact {
        Fact::Status(did.clone(), self.active, self.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(relay: &str, sent: u64) -> Origin {
        Origin::new(relay, Some(Timestamp(sent)))
    }

    #[test]
    fn one_relay_decides_by_its_order_and_two_by_the_time_of_sending() {
        let newest = Some(origin("a", 10));
        assert_eq!(Order::of(origin("a", 5), newest), Order::Next);
        assert_eq!(Order::of(origin("b", 9), newest), Order::Older);
        assert_eq!(Order::of(origin("b", 10), newest), Order::Same);
        assert_eq!(Order::of(origin("b", 11), newest), Order::Next);
    }

    #[test]
    fn without_a_time_the_order_of_the_log_decides() {
        let unknown = Origin::new("b", None);
        assert_eq!(Order::of(unknown, Some(origin("a", 10))), Order::Next);
        assert_eq!(Order::of(origin("a", 10), Some(unknown)), Order::Next);
        assert_eq!(Order::of(origin("a", 10), None), Order::Next);
    }
}
