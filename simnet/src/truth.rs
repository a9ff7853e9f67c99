//! What a correct consumer counts.

use std::collections::{BTreeMap, VecDeque};

use skytide_core::event::DropReason;
use skytide_core::time::Timestamp;

/// What must be counted for one frame, by a consumer that read all frames before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The counter `frames/<kind>`, as `#commit` or `unreadable`.
    pub kind: &'static str,
    /// What is dropped, in whole or in part, by reason; by ingest and by the dataflow together.
    pub drops: Vec<(DropReason, u32)>,
    /// Numbers left out before it: one gap, if there are any.
    pub missing_seqs: u64,
    /// The counter `info/<name>`.
    pub info: Option<&'static str>,
    /// The counter `error/<name>`.
    pub error: Option<&'static str>,
    /// Operations on a path that an earlier one of the same commit named.
    pub paths_repeated: u32,
}

impl Expected {
    /// A good frame of a kind.
    pub(crate) fn of(kind: &'static str) -> Self {
        Self {
            kind,
            drops: Vec::new(),
            missing_seqs: 0,
            info: None,
            error: None,
            paths_repeated: 0,
        }
    }

    /// The same with something dropped.
    pub(crate) fn dropping(mut self, reason: DropReason) -> Self {
        self.drops.push((reason, 1));
        self
    }
}

/// The sums of what must be counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals(BTreeMap<String, u64>);

impl Totals {
    /// Adds a frame.
    pub fn add(&mut self, frame: &crate::Frame) {
        let Expected {
            kind,
            drops,
            missing_seqs,
            info,
            error,
            paths_repeated,
        } = &frame.expected;
        self.count("frames", 1);
        self.count("frame_bytes", frame.bytes.len() as u64);
        self.count(&format!("frames/{kind}"), 1);
        self.count("events", frame.events.len() as u64);
        for (reason, count) in drops {
            let name = format!("dropped/{}", reason.as_str());
            self.count(&name, u64::from(*count));
        }
        self.count("gaps", u64::from(*missing_seqs > 0));
        self.count("missing_seqs", *missing_seqs);
        self.count("paths_repeated", u64::from(*paths_repeated));
        for (group, name) in [("info", info), ("error", error)] {
            if let Some(name) = name {
                self.count(&format!("{group}/{name}"), 1);
            }
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.get_mut(name) {
            Some(sum) => *sum += count,
            None => {
                self.0.insert(name.to_owned(), count);
            }
        }
    }

    /// The counters by name (`docs/recordings.md`); those that are not zero.
    pub fn by_name(&self) -> &BTreeMap<String, u64> {
        &self.0
    }

    /// How often something was dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let name = format!("dropped/{}", reason.as_str());
        self.0.get(&name).copied().unwrap_or_default()
    }
}

/// Network time as a reader of all frames has it: the median of the last 31 times, which never goes back
/// (`docs/recordings.md`, Time).
#[derive(Clone, Debug, Default)]
pub(crate) struct MedianTime {
    arrived: VecDeque<u64>,
    sorted: Vec<u64>,
    now: u64,
}

const WINDOW: usize = 31;

impl MedianTime {
    pub(crate) fn note(&mut self, time: Timestamp) {
        if self.arrived.len() == WINDOW
            && let Some(oldest) = self.arrived.pop_front()
        {
            let place = self.sorted.partition_point(|&other| other < oldest);
            self.sorted.remove(place);
        }
        self.arrived.push_back(time.0);
        let place = self.sorted.partition_point(|&other| other < time.0);
        self.sorted.insert(place, time.0);
        let middle = (self.sorted.len() - 1) / 2;
        self.now = self.now.max(self.sorted[middle]);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }
}
