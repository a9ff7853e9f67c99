//! The faults of one connection, or of the stream, frame by frame: a function of plan and seed.

use std::collections::VecDeque;

use super::{Fault, MILLION, PlannedFault};
use crate::random::Random;

/// The faults of one connection, frame by frame.
#[derive(Debug)]
pub(crate) struct FaultSequence {
    random: Random,
    planned: VecDeque<PlannedFault>,
    refusals: Vec<(Fault, u32)>,
    rates: Vec<(Fault, u32)>,
    frames: u64,
    due: VecDeque<Fault>,
}

impl FaultSequence {
    /// Planned faults in the order of their frames; rates of refusals; rates of the other faults.
    pub(super) fn new(
        seed: u64,
        planned: Vec<PlannedFault>,
        refusals: Vec<(Fault, u32)>,
        rates: Vec<(Fault, u32)>,
    ) -> Self {
        Self {
            random: Random::new(seed),
            planned: planned.into(),
            refusals,
            rates,
            frames: 0,
            due: VecDeque::new(),
        }
    }

    /// The next refusal due instead of an upgrade.
    pub(crate) fn refusal(&mut self) -> Option<Fault> {
        let is_refusal = |planned_fault: &PlannedFault| planned_fault.fault.is_refusal();
        if let Some(index) = self.planned.iter().position(is_refusal) {
            return self
                .planned
                .remove(index)
                .map(|planned_fault| planned_fault.fault);
        }
        draw(&mut self.random, &self.refusals)
    }

    /// Counts a sent frame, and draws the random fault that follows it.
    pub(crate) fn on_frame_sent(&mut self) {
        self.frames += 1;
        let chance = draw(&mut self.random, &self.rates);
        self.due.extend(chance);
    }

    /// The next fault due: at the start, or before a frame that brings a new sequence number.
    pub(crate) fn next_due(&mut self) -> Option<Fault> {
        let planned_fault = self
            .planned
            .pop_front_if(|planned_fault| planned_fault.frames <= self.frames);
        planned_fault
            .map(|planned_fault| planned_fault.fault)
            .or_else(|| self.due.pop_front())
    }
}

fn draw(random: &mut Random, rates: &[(Fault, u32)]) -> Option<Fault> {
    if rates.is_empty() {
        return None;
    }
    let mut drawn = random.below(u64::from(MILLION)) as u32;
    for (fault, rate) in rates {
        match drawn.checked_sub(*rate) {
            None => return Some(*fault),
            Some(rest) => drawn = rest,
        }
    }
    None
}
