//! The counts of a correct consumer.

use std::collections::{BTreeMap, VecDeque};

use skytide_core::event::DropReason;
use skytide_core::time::Timestamp;

/// The counts expected for one frame, from a consumer that has read all frames before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The counter `frames/<kind>`, such as `#commit` or `unreadable`.
    pub kind: &'static str,
    /// What is dropped, completely or partly, by reason; by ingest and the dataflow together.
    pub drops: Vec<(DropReason, u32)>,
    /// Number of sequence numbers skipped before the frame. If there are any, they form one gap.
    pub missing_seqs: u64,
    /// The counter `info/<name>`.
    pub info: Option<&'static str>,
    /// The counter `error/<name>`.
    pub error: Option<&'static str>,
    /// Operations on a path that an earlier operation of the same commit named.
    pub paths_repeated: u32,
}

impl Expected {
    /// The counts of a well-formed frame of a kind.
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

    /// The same with one more drop.
    pub(crate) fn dropping(mut self, reason: DropReason) -> Self {
        self.drops.push((reason, 1));
        self
    }
}

/// The sums of the expected counts.
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

    /// The counters by name (`docs/recordings.md`), except those that are zero.
    pub fn by_name(&self) -> &BTreeMap<String, u64> {
        &self.0
    }

    /// How often something was dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let name = format!("dropped/{}", reason.as_str());
        self.0.get(&name).copied().unwrap_or_default()
    }
}

/// Network time of a consumer that reads all frames: the median of the last 31 times, which never
/// decreases (`docs/recordings.md`, Time).
#[derive(Clone, Debug, Default)]
pub(crate) struct MedianTime {
    arrived: VecDeque<u64>,
    sorted: Vec<u64>,
    now: u64,
}

const WINDOW: usize = 31;

impl MedianTime {
    pub(crate) fn observe(&mut self, time: Timestamp) {
        if self.arrived.len() == WINDOW
            && let Some(oldest) = self.arrived.pop_front()
        {
            let index = self.sorted.partition_point(|&other| other < oldest);
            self.sorted.remove(index);
        }
        self.arrived.push_back(time.0);
        let index = self.sorted.partition_point(|&other| other < time.0);
        self.sorted.insert(index, time.0);
        let middle = (self.sorted.len() - 1) / 2;
        self.now = self.now.max(self.sorted[middle]);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }
}
