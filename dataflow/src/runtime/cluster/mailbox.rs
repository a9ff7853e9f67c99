//! Messages between the workers of several processes, in a dataflow of their own beside the graph.
//!
//! ```text
//! message ─▶ fragments of at most 256 KiB ─ exchange by receiver ─▶ (sender, message)
//! ```
//!
//! Messages from one worker to another arrive in the order in which they were sent. Messages are
//! delivered even before the receiver has built its graph, and delivery does not step the graph.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Input as _, Operator};
use timely::worker::Worker;

/// The largest size of a fragment. Timely copies each fragment as a whole into its buffers, which
/// have 1 MiB.
const FRAGMENT_BYTES_MAX: usize = 256 << 10;

/// A part of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fragment {
    from: u32,
    to: u32,
    /// Whether this is the last fragment of its message.
    last: bool,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// The messages that arrived at a worker.
#[derive(Default)]
struct Inbox {
    /// By sender, the fragments so far of its next message.
    partial: BTreeMap<u32, Vec<u8>>,
    /// Complete messages with their senders, oldest first.
    complete: VecDeque<(usize, Vec<u8>)>,
}

/// The mailbox of a worker.
pub(crate) struct Mailbox {
    worker: u32,
    /// Its time is the number of fragments sent.
    out: InputHandle<u64, CapacityContainerBuilder<Vec<Fragment>>>,
    inbox: Rc<RefCell<Inbox>>,
}

impl Mailbox {
    /// Builds the mailbox. Every worker of the computation must do so, before it builds anything
    /// else.
    pub fn build(worker: &mut Worker) -> Self {
        let mut out = InputHandle::new();
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let arrived = inbox.clone();
        worker.dataflow_named::<u64, _, _>("Mailboxes", |scope| {
            let by_receiver = Exchange::new(|fragment: &Fragment| u64::from(fragment.to));
            scope
                .input_from(&mut out)
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    by_receiver,
                    "Mailbox",
                    |_, _| {
                        move |input, _output| {
                            input.for_each(|_time, fragments| {
                                let mut inbox = arrived.borrow_mut();
                                fragments.drain(..).for_each(|fragment| inbox.add(fragment));
                            });
                        }
                    },
                );
        });
        Self {
            worker: worker.index() as u32,
            out,
            inbox,
        }
    }

    /// Sends a message to another worker.
    pub fn send(&mut self, to: usize, message: &impl Serialize) {
        let mut writer = FragmentWriter {
            to: to as u32,
            bytes: Vec::new(),
            mailbox: self,
        };
        postcard::to_io(message, &mut writer).expect("writing into memory does not fail");
        writer.send_fragment(true);
    }

    /// Takes the oldest message that arrived, with the number of its sender.
    ///
    /// # Panics
    /// If the message is not of type `T`: a mailbox carries messages of one type in each direction.
    pub fn receive<T: DeserializeOwned>(&self) -> Option<(usize, T)> {
        let (from, message) = self.inbox.borrow_mut().complete.pop_front()?;
        let message = postcard::from_bytes(&message);
        Some((from, message.expect("the sender runs the same version")))
    }
}

impl Inbox {
    fn add(&mut self, fragment: Fragment) {
        let message = self.partial.entry(fragment.from).or_default();
        if message.is_empty() {
            *message = fragment.bytes;
        } else {
            message.extend_from_slice(&fragment.bytes);
        }
        if fragment.last {
            let message = std::mem::take(message);
            self.complete.push_back((fragment.from as usize, message));
        }
    }
}

/// Writes a message and sends it in fragments.
struct FragmentWriter<'a> {
    to: u32,
    bytes: Vec<u8>,
    mailbox: &'a mut Mailbox,
}

impl FragmentWriter<'_> {
    fn send_fragment(&mut self, last: bool) {
        self.mailbox.out.send(Fragment {
            from: self.mailbox.worker,
            to: self.to,
            last,
            bytes: std::mem::take(&mut self.bytes),
        });
        // Timely would buffer hundreds of fragments with the same time. With a time of its own,
        // each fragment is sent at once.
        let sent = *self.mailbox.out.time();
        self.mailbox.out.advance_to(sent + 1);
    }
}

impl io::Write for FragmentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = FRAGMENT_BYTES_MAX - self.bytes.len();
        let written = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(written);
        if self.bytes.len() == FRAGMENT_BYTES_MAX {
            self.send_fragment(false);
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
