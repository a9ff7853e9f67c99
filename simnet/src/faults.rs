//! What goes wrong with connections: planned to the frame, or by chance; and how often it really happened.
//!
//! ```text
//! plan:  connection 2, behind 500 frames: reset ─┐
//! rates: garbage behind 100 of a million frames ─┼─▶ lane of a connection ─┐
//! seed ──────────────────────────────────────────┘                         ├─▶ what is due now ─▶ done, counted
//! plan:  behind 9,000 frames of the stream: drop ─▶ whoever comes there ───┘
//! ```
//!
//! A lane is a function of seed, plan and the connection's number alone. What is planned by the stream's frames happens once,
//! whatever number the connection has that comes there first. What is wrong with frames themselves is the
//! network's business; here are the stream's rows of what can happen between two machines.
//!
//! A fault happens before a frame that brings a new number: a consumer that comes back names the number before, and has
//! had all that
//! came without one. So nothing is lost or told twice; only [`Fault::Reset`] loses what is on its way, as it does in life.

mod anywhere;
mod lane;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use anywhere::Anywhere;
pub(crate) use lane::Lane;

/// Something that goes wrong with a connection or, [`Fault::SeqReset`], with the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing comes any more, and pings have no answer; the TCP connection stays open.
    Stall,
    /// Nothing comes any more, but pings are answered: a host at which nothing happens.
    Quiet,
    /// The connection is cut by TCP (RST): what is on its way is lost.
    Reset,
    /// The connection ends without a closing frame: code 1006 at the client.
    Drop,
    /// The connection is closed by the protocol, with code 1001 (going away).
    Close,
    /// The upgrade is answered with 429 and `Retry-After`.
    Http429,
    /// The upgrade is answered with 500.
    Http500,
    /// The upgrade is answered with 503 and `Retry-After`.
    Http503,
    /// The upgrade is answered with 200 and a page of HTML.
    Html,
    /// An error frame `FutureCursor`, then the end.
    FutureCursor,
    /// An error frame `ConsumerTooSlow`, then the end.
    ConsumerTooSlow,
    /// An error frame of another name whose header has a `t` all the same, then the end.
    TypedError,
    /// A message over 5 MB; the stream goes on if the client stays.
    Oversized,
    /// A binary message that is no frame; the stream goes on.
    Garbage,
    /// A text message; the stream goes on.
    Text,
    /// The stream's numbers begin anew at 1, on every connection.
    SeqReset,
}

impl Fault {
    /// All of them.
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

    /// Its name in options and counts.
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

    /// Whether it happens instead of an upgrade; then its rate is per connection, else per frame.
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

/// Why a text describes no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no such fault.
    #[error("there is no fault {0:?}; there are {names}", names = names())]
    Name(String),
    /// It has another form.
    #[error(
        "{0:?} is neither KIND=RATE (per million frames; of refusals, per million connections) \
         nor KIND@CONNECTION:FRAMES (behind so many frames of that connection, the first is 1) \
         nor KIND@*:FRAMES (behind so many frames of the stream)"
    )]
    Form(String),
    /// More than all of them.
    #[error("{0} per million is more than all")]
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

/// One thing that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// On which connection; the first is 1, refused ones count. 0: whichever comes there. Does not matter to
    /// [`Fault::SeqReset`].
    pub connection: u64,
    /// Behind so many frames of that connection, before the next one that brings a new number; 0: at once. With connection
    /// 0, and for [`Fault::SeqReset`]: behind so many frames that left the network.
    pub frames: u64,
    /// What.
    pub fault: Fault,
}

/// What goes wrong, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Seed of everything that happens by chance.
    pub seed: u64,
    /// What happens at a known moment.
    pub steps: Vec<Step>,
    /// What happens by chance: so often in a million frames, or connections ([`Fault::is_refusal`]).
    pub rates: BTreeMap<Fault, u32>,
    /// What `Retry-After` says, in seconds.
    pub retry_after_seconds: u32,
}

impl Plan {
    /// Adds a step.
    #[must_use]
    pub fn then(mut self, connection: u64, frames: u64, fault: Fault) -> Self {
        self.steps.push(Step {
            connection,
            frames,
            fault,
        });
        self
    }

    /// Adds a step behind so many frames of the stream, on whichever connection comes there first; a refusal meets the
    /// first one that is asked for when somebody has come there.
    #[must_use]
    pub fn anywhere(self, frames: u64, fault: Fault) -> Self {
        self.then(0, frames, fault)
    }

    /// Adds a rate, per million.
    #[must_use]
    pub fn rate(mut self, fault: Fault, per_million: u32) -> Self {
        self.rates.insert(fault, per_million);
        self
    }

    /// Adds what a text says: `reset=20,http_429=100000,text@2:500,drop@*:9000`.
    ///
    /// # Errors
    /// It has another form, or names no fault.
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
                self = self.then(connection, number(frames)?, name.parse()?);
            }
        }
        Ok(self)
    }
}

const MILLION: u32 = 1_000_000;

/// A plan at work. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Plan>,
    anywhere: Arc<Anywhere>,
    fired: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl Faults {
    /// Nothing of it has happened yet.
    pub fn new(plan: Plan) -> Self {
        Self {
            anywhere: Arc::new(Anywhere::new(&plan.steps)),
            plan: Arc::new(plan),
            fired: Arc::default(),
        }
    }

    /// How often each of them really happened; those that did not are left out.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        let fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        fired.clone()
    }

    /// It happened.
    pub(crate) fn count(&self, fault: Fault) {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        *fired.entry(fault).or_default() += 1;
    }

    /// What `Retry-After` says, in seconds.
    pub(crate) fn retry_after_seconds(&self) -> u32 {
        self.plan.retry_after_seconds
    }

    /// What was planned by the frames of the stream alone.
    pub(crate) fn anywhere(&self) -> &Anywhere {
        &self.anywhere
    }

    /// What will go wrong with a connection.
    pub(crate) fn connection(&self, number: u64) -> Lane {
        self.lane(number, |step| {
            step.connection == number && step.fault != Fault::SeqReset
        })
    }

    /// What will go wrong with the stream.
    pub(crate) fn stream(&self) -> Lane {
        self.lane(0, |step| step.fault == Fault::SeqReset)
    }

    fn lane(&self, number: u64, ours: impl Fn(&Step) -> bool) -> Lane {
        let steps = self.plan.steps.iter();
        let mut steps: Vec<Step> = steps.filter(|step| ours(step)).copied().collect();
        steps.sort_by_key(|step| step.frames);
        let stream = number == 0;
        let rates = self.plan.rates.iter();
        let rates = rates.filter(|(fault, _)| (**fault == Fault::SeqReset) == stream);
        let (refusals, others) = rates.partition::<Vec<_>, _>(|(fault, _)| fault.is_refusal());
        let own = |rates: Vec<(&Fault, &u32)>| rates.into_iter().map(|(a, b)| (*a, *b)).collect();
        let seed = crate::random::mix(&[self.plan.seed, number]);
        Lane::new(seed, steps, own(refusals), own(others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_and_when() {
        let plan = Plan::default();
        let plan = plan
            .with("reset=20, http_429=100000,text@2:500,drop@*:9000")
            .expect("a plan");
        let expected = Plan::default()
            .rate(Fault::Reset, 20)
            .rate(Fault::Http429, 100_000)
            .then(2, 500, Fault::Text)
            .anywhere(9_000, Fault::Drop);
        assert_eq!(plan, expected);
    }

    #[test]
    fn what_is_no_plan_is_refused_with_what_would_be_one() {
        let refused = |text: &str| Plan::default().with(text).expect_err(text).to_string();
        assert!(refused("rest=2").contains("seq_reset"));
        assert!(refused("reset").contains("KIND@CONNECTION:FRAMES"));
        assert!(refused("reset@1").contains("KIND=RATE"));
        assert!(refused("reset=1000001").contains("more than all"));
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(fault));
        }
    }

    #[test]
    fn a_step_is_due_behind_its_frames_until_it_is_taken() {
        let plan = Plan::default()
            .then(1, 2, Fault::Text)
            .then(1, 2, Fault::Drop)
            .then(2, 1, Fault::Reset);
        let mut lane = Faults::new(plan).connection(1);
        lane.sent();
        assert_eq!(lane.take(), None);
        lane.sent();
        lane.sent();
        let due = [lane.take(), lane.take(), lane.take()];
        assert_eq!(due, [Some(Fault::Text), Some(Fault::Drop), None]);
    }

    #[test]
    fn chance_is_a_function_of_seed_and_connection_and_near_its_rate() {
        let plan = Plan {
            seed: 7,
            ..Plan::default()
        };
        let plan = plan.rate(Fault::Reset, 5_000).rate(Fault::Garbage, 20_000);
        let faults = Faults::new(plan);
        let drawn = |connection| {
            let mut lane = faults.connection(connection);
            let frames = (0..100_000).map(|_| {
                lane.sent();
                lane.take()
            });
            frames.collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let of = |fault| drawn(3).iter().filter(|it| **it == Some(fault)).count();
        // 500 and 2,000 are expected; five standard deviations are about 110 and 220.
        assert!(of(Fault::Reset).abs_diff(500) < 110);
        assert!(of(Fault::Garbage).abs_diff(2_000) < 220);
    }
}
