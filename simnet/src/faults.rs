//! Connection faults, planned for an exact frame or drawn at random. Counts how often each fired.
//!
//! ```text
//! plan:  connection 2, after 500 frames: reset ──┐
//! rates: garbage, 100 per million frames ────────┼─▶ FaultSequence of a connection ─┐
//! seed ──────────────────────────────────────────┘                                  ├─▶ due fault
//! plan:  after 9,000 frames of the stream: drop ─▶ any connection that gets there ──┘
//! ```
//!
//! A `FaultSequence` is a function of the seed, the plan and the connection's number. A fault
//! planned by the frames of the stream fires once, on the first connection that reaches that frame.
//! Faults inside frames belong to [`malformed`](crate::malformed); this module covers what can go
//! wrong between two machines.
//!
//! A fault fires only before a frame with a new sequence number. Frames without a new number, such
//! as malformed ones, are sent together with the numbered frame that they follow. So a client that
//! reconnects with the last number as its cursor misses no frame and receives none twice. The
//! exception is [`Fault::Reset`], which loses the bytes in flight, as a real reset does.

mod any_connection;
mod sequence;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use any_connection::AnyConnectionFaults;
pub(crate) use sequence::FaultSequence;

/// A fault of one connection or, for [`Fault::SeqReset`], of the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The server sends nothing more and does not answer pings. The TCP connection stays open.
    Stall,
    /// The server sends nothing more but answers pings, as a host without activity does.
    Quiet,
    /// The connection is closed by TCP RST. Bytes in flight are lost.
    Reset,
    /// The connection ends without a close frame: code 1006 at the client.
    Drop,
    /// The connection is closed with a close frame of code 1001 (going away).
    Close,
    /// The response to the upgrade is 429 with `Retry-After`.
    Http429,
    /// The response to the upgrade is 500.
    Http500,
    /// The response to the upgrade is 503 with `Retry-After`.
    Http503,
    /// The response to the upgrade is 200 with an HTML page.
    Html,
    /// An error frame `FutureCursor`, then the end of the stream.
    FutureCursor,
    /// An error frame `ConsumerTooSlow`, then the end of the stream.
    ConsumerTooSlow,
    /// An error frame `InternalError` whose header also has a message type (`t`), then the end of
    /// the stream.
    TypedError,
    /// A message over 5 MB. The stream continues if the client stays connected.
    Oversized,
    /// A binary message that is not a frame. The stream continues.
    Garbage,
    /// A text message. The stream continues.
    Text,
    /// The sequence numbers of the stream restart at 1, on every connection.
    SeqReset,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 16] = [
        Self::Stall,
        Self::Quiet,
        Self::Reset,
        Self::Drop,
        Self::Close,
        Self::Http429,
        Self::Http500,
        Self::Http503,
        Self::Html,
        Self::FutureCursor,
        Self::ConsumerTooSlow,
        Self::TypedError,
        Self::Oversized,
        Self::Garbage,
        Self::Text,
        Self::SeqReset,
    ];

    /// The fault's name in options and counts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Quiet => "quiet",
            Self::Reset => "reset",
            Self::Drop => "drop",
            Self::Close => "close",
            Self::Http429 => "http_429",
            Self::Http500 => "http_500",
            Self::Http503 => "http_503",
            Self::Html => "html",
            Self::FutureCursor => "future_cursor",
            Self::ConsumerTooSlow => "consumer_too_slow",
            Self::TypedError => "typed_error",
            Self::Oversized => "oversized",
            Self::Garbage => "garbage",
            Self::Text => "text",
            Self::SeqReset => "seq_reset",
        }
    }

    /// Whether the fault refuses the upgrade. The rate of such a fault is per million connections;
    /// the rate of any other fault is per million frames.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Http429 | Self::Http500 | Self::Http503 | Self::Html
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text cannot be parsed as a fault or a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No fault has this name.
    #[error("there is no fault {0:?}; the faults are {names}", names = names())]
    Name(String),
    /// The text is in none of the known forms.
    #[error(
        "{0:?} is not a fault: write KIND=RATE (per million frames; for refusals, per million \
         connections), KIND@CONNECTION:FRAMES (after this many frames of that connection; the \
         first connection is 1) or KIND@*:FRAMES (after this many frames of the stream)"
    )]
    Form(String),
    /// The rate is above one million per million.
    #[error("the rate {0} is above 1000000 parts per million")]
    Rate(u32),
}

fn names() -> String {
    Fault::ALL.map(Fault::as_str).join(", ")
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        found.ok_or_else(|| FaultError::Name(text.to_owned()))
    }
}

/// One planned fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedFault {
    /// Number of the connection. The first is 1; refused ones count. 0 means any connection.
    /// [`Fault::SeqReset`] ignores it.
    pub connection: u64,
    /// The fault fires after this many frames of that connection, before the next frame that brings
    /// a new sequence number; 0 fires at once. For connection 0 and for [`Fault::SeqReset`] the
    /// frames of the stream count instead.
    pub frames: u64,
    /// The fault.
    pub fault: Fault,
}

/// Which faults fire, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Seed of the random faults.
    pub seed: u64,
    /// Faults at a known moment.
    pub planned: Vec<PlannedFault>,
    /// Rates of random faults: per million frames, or per million connections
    /// ([`Fault::is_refusal`]).
    pub rates: BTreeMap<Fault, u32>,
    /// The value of `Retry-After`, in seconds.
    pub retry_after_seconds: u32,
}

impl FaultPlan {
    /// Adds a fault on one connection, after this many of its frames.
    #[must_use]
    pub fn on_connection(mut self, connection: u64, frames: u64, fault: Fault) -> Self {
        self.planned.push(PlannedFault {
            connection,
            frames,
            fault,
        });
        self
    }

    /// Adds a fault after this many frames of the stream, on the first connection that reaches
    /// them. A refusal fires on the first request after any connection has been sent these frames.
    #[must_use]
    pub fn on_any_connection(self, frames: u64, fault: Fault) -> Self {
        self.on_connection(0, frames, fault)
    }

    /// Sets the rate of a random fault: per million connections for a refusal
    /// ([`Fault::is_refusal`]), per million frames for any other fault.
    #[must_use]
    pub fn rate(mut self, fault: Fault, per_million: u32) -> Self {
        self.rates.insert(fault, per_million);
        self
    }

    /// Adds the faults that a text describes: `reset=20,http_429=100000,text@2:500,drop@*:9000`.
    ///
    /// # Errors
    ///
    /// The text has none of the valid forms, names an unknown fault, or has a rate above a million.
    pub fn with(mut self, text: &str) -> Result<Self, FaultError> {
        for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let form = || FaultError::Form(part.to_owned());
            if let Some((name, rate)) = part.split_once('=') {
                let rate = rate.parse().map_err(|_| form())?;
                if rate > MILLION {
                    return Err(FaultError::Rate(rate));
                }
                self = self.rate(name.parse()?, rate);
            } else {
                let (name, place) = part.split_once('@').ok_or_else(form)?;
                let (connection, frames) = place.split_once(':').ok_or_else(form)?;
                let number = |text: &str| text.parse::<u64>().map_err(|_| form());
                let connection = match connection {
                    "*" => 0,
                    other => number(other)?,
                };
                self = self.on_connection(connection, number(frames)?, name.parse()?);
            }
        }
        Ok(self)
    }
}

const MILLION: u32 = 1_000_000;

/// A plan being executed. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<FaultPlan>,
    any_connection: Arc<AnyConnectionFaults>,
    fired: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl Faults {
    /// Starts a plan. No fault has fired yet.
    pub fn new(plan: FaultPlan) -> Self {
        Self {
            any_connection: Arc::new(AnyConnectionFaults::new(&plan.planned)),
            plan: Arc::new(plan),
            fired: Arc::default(),
        }
    }

    /// How often each fault fired. Faults that did not fire are omitted.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        let fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        fired.clone()
    }

    /// Counts a fault that fired.
    pub(crate) fn count(&self, fault: Fault) {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        *fired.entry(fault).or_default() += 1;
    }

    /// The value of `Retry-After`, in seconds.
    pub(crate) fn retry_after_seconds(&self) -> u32 {
        self.plan.retry_after_seconds
    }

    /// The faults planned by the frames of the stream, for any connection.
    pub(crate) fn any_connection(&self) -> &AnyConnectionFaults {
        &self.any_connection
    }

    /// The faults of one connection.
    pub(crate) fn for_connection(&self, number: u64) -> FaultSequence {
        self.sequence(number, |planned_fault| {
            planned_fault.connection == number && planned_fault.fault != Fault::SeqReset
        })
    }

    /// The faults of the whole stream.
    pub(crate) fn for_stream(&self) -> FaultSequence {
        self.sequence(0, |planned_fault| planned_fault.fault == Fault::SeqReset)
    }

    fn sequence(&self, number: u64, belongs: impl Fn(&PlannedFault) -> bool) -> FaultSequence {
        let planned = self.plan.planned.iter();
        let mut planned: Vec<PlannedFault> = planned
            .filter(|planned_fault| belongs(planned_fault))
            .copied()
            .collect();
        planned.sort_by_key(|planned_fault| planned_fault.frames);
        let stream = number == 0;
        let rates = self.plan.rates.iter();
        let rates = rates.filter(|(fault, _)| (**fault == Fault::SeqReset) == stream);
        let (refusals, others) = rates.partition::<Vec<_>, _>(|(fault, _)| fault.is_refusal());
        let owned = |rates: Vec<(&Fault, &u32)>| rates.into_iter().map(|(a, b)| (*a, *b)).collect();
        let seed = crate::random::mix(&[self.plan.seed, number]);
        FaultSequence::new(seed, planned, owned(refusals), owned(others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_parsed_from_a_text() {
        let plan = FaultPlan::default();
        let plan = plan
            .with("reset=20, http_429=100000,text@2:500,drop@*:9000")
            .expect("a plan");
        let expected = FaultPlan::default()
            .rate(Fault::Reset, 20)
            .rate(Fault::Http429, 100_000)
            .on_connection(2, 500, Fault::Text)
            .on_any_connection(9_000, Fault::Drop);
        assert_eq!(plan, expected);
    }

    #[test]
    fn an_invalid_text_is_refused_with_the_valid_forms() {
        let refused = |text: &str| FaultPlan::default().with(text).expect_err(text).to_string();
        assert!(refused("rest=2").contains("seq_reset"));
        assert!(refused("reset").contains("KIND@CONNECTION:FRAMES"));
        assert!(refused("reset@1").contains("KIND=RATE"));
        assert!(refused("reset=1000001").contains("above 1000000"));
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(fault));
        }
    }

    #[test]
    fn a_planned_fault_is_due_after_its_frames_until_it_is_taken() {
        let plan = FaultPlan::default()
            .on_connection(1, 2, Fault::Text)
            .on_connection(1, 2, Fault::Drop)
            .on_connection(2, 1, Fault::Reset);
        let mut sequence = Faults::new(plan).for_connection(1);
        sequence.on_frame_sent();
        assert_eq!(sequence.next_due(), None);
        sequence.on_frame_sent();
        sequence.on_frame_sent();
        let due = [
            sequence.next_due(),
            sequence.next_due(),
            sequence.next_due(),
        ];
        assert_eq!(due, [Some(Fault::Text), Some(Fault::Drop), None]);
    }

    #[test]
    fn random_faults_follow_from_seed_and_connection_at_their_rate() {
        let plan = FaultPlan {
            seed: 7,
            ..FaultPlan::default()
        };
        let plan = plan.rate(Fault::Reset, 5_000).rate(Fault::Garbage, 20_000);
        let faults = Faults::new(plan);
        let drawn = |connection| {
            let mut sequence = faults.for_connection(connection);
            let frames = (0..100_000).map(|_| {
                sequence.on_frame_sent();
                sequence.next_due()
            });
            frames.collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let of = |fault| drawn(3).iter().filter(|it| **it == Some(fault)).count();
        // The expected counts are 500 and 2,000; five standard deviations are about 110 and 220.
        assert!(of(Fault::Reset).abs_diff(500) < 110);
        assert!(of(Fault::Garbage).abs_diff(2_000) < 220);
    }
}
