//! Messages between the workers of several processes, in a dataflow of their own beside the graph.
//!
//! ```text
//! message ─▶ parcels of at most 256 KiB ─ exchange by receiver ─▶ message, from whom
//! ```
//!
//! Messages from one worker to another arrive in the order in which they were sent. A message is handed on whether or not
//! the receiver's graph stands, and costs no step of it.

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

/// Bytes of a parcel, at most: timely copies each whole into its buffers, which are of 1 MiB.
const PARCEL_BYTES: usize = 256 << 10;

/// A piece of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parcel {
    from: u32,
    to: u32,
    /// Whether the message ends with it.
    last: bool,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// What arrived at a worker.
#[derive(Default)]
struct Inbox {
    begun: BTreeMap<u32, Vec<u8>>,
    whole: VecDeque<(usize, Vec<u8>)>,
}

/// A worker's post office.
pub(crate) struct Post {
    worker: u32,
    /// Its time is the number of parcels.
    out: InputHandle<u64, CapacityContainerBuilder<Vec<Parcel>>>,
    inbox: Rc<RefCell<Inbox>>,
}

impl Post {
    /// Builds it; every worker of the computation must, and first.
    pub fn build(worker: &mut Worker) -> Self {
        let mut out = InputHandle::new();
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let arrived = inbox.clone();
        worker.dataflow::<u64, _, _>(|scope| {
            let by_receiver = Exchange::new(|parcel: &Parcel| u64::from(parcel.to));
            scope
                .input_from(&mut out)
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                    by_receiver,
                    "Post",
                    |_, _| {
                        move |input, _output| {
                            input.for_each(|_time, parcels| {
                                let mut inbox = arrived.borrow_mut();
                                parcels.drain(..).for_each(|parcel| inbox.take(parcel));
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
        let mut packing = Packing {
            to: to as u32,
            bytes: Vec::new(),
            post: self,
        };
        postcard::to_io(message, &mut packing).expect("a message is written into memory");
        packing.pass(true);
    }

    /// The next message that arrived, and from which worker.
    ///
    /// # Panics
    /// If it is no message of this type: nothing else is sent here.
    pub fn take<T: DeserializeOwned>(&self) -> Option<(usize, T)> {
        let (from, message) = self.inbox.borrow_mut().whole.pop_front()?;
        let message = postcard::from_bytes(&message);
        Some((from, message.expect("it was written by the same version")))
    }
}

impl Inbox {
    fn take(&mut self, parcel: Parcel) {
        let message = self.begun.entry(parcel.from).or_default();
        if message.is_empty() {
            *message = parcel.bytes;
        } else {
            message.extend_from_slice(&parcel.bytes);
        }
        if parcel.last {
            let message = std::mem::take(message);
            self.whole.push_back((parcel.from as usize, message));
        }
    }
}

/// A message while it is cut into parcels.
struct Packing<'a> {
    to: u32,
    bytes: Vec<u8>,
    post: &'a mut Post,
}

impl Packing<'_> {
    fn pass(&mut self, last: bool) {
        self.post.out.send(Parcel {
            from: self.post.worker,
            to: self.to,
            last,
            bytes: std::mem::take(&mut self.bytes),
        });
        // It leaves at once, and alone: of one time, timely would gather hundreds.
        let sent = *self.post.out.time();
        self.post.out.advance_to(sent + 1);
    }
}

impl io::Write for Packing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PARCEL_BYTES - self.bytes.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(taken);
        if self.bytes.len() == PARCEL_BYTES {
            self.pass(false);
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
