//! Whether a server accepts writes, as the driver's monitor last saw it
//! (<https://specifications.readthedocs.io/en/latest/server-discovery-and-monitoring/server-discovery-and-monitoring/>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;

/// The state of the connection. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_writable: AtomicBool,
    /// Times that it became writable.
    connects: AtomicU64,
}

impl Topology {
    /// Records what the monitor reports to this handler.
    pub fn handler(&self) -> EventHandler<SdamEvent> {
        let topology = self.clone();
        EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(event) = event {
                topology.set(event.new_description.has_writable_server());
            }
        })
    }

    fn set(&self, is_writable: bool) {
        let was_writable = self.0.is_writable.swap(is_writable, Ordering::Relaxed);
        if is_writable && !was_writable {
            self.0.connects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a server accepts writes.
    pub fn is_connected(&self) -> bool {
        self.0.is_writable.load(Ordering::Relaxed)
    }

    /// How often there was none and then one again.
    pub fn reconnects(&self) -> u64 {
        self.0.connects.load(Ordering::Relaxed).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_to_writable_after_the_first_one_is_a_reconnect() {
        let topology = Topology::default();
        let mut seen = Vec::new();
        for is_writable in [false, true, true, false, false, true, true] {
            topology.set(is_writable);
            seen.push((topology.is_connected(), topology.reconnects()));
        }
        let expected = [
            (false, 0),
            (true, 0),
            (true, 0),
            (false, 0),
            (false, 0),
            (true, 1),
            (true, 1),
        ];
        assert_eq!(seen, expected);
    }
}
