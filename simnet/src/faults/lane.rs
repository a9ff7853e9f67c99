//! What goes wrong on one connection, or with the stream: a plan and a seed, frame by frame.

use std::collections::VecDeque;

use super::{Fault, MILLION, Step};
use crate::random::Random;

/// What goes wrong on one connection, frame by frame.
#[derive(Debug)]
pub(crate) struct Lane {
    random: Random,
    steps: VecDeque<Step>,
    refusals: Vec<(Fault, u32)>,
    rates: Vec<(Fault, u32)>,
    frames: u64,
    due: VecDeque<Fault>,
}

impl Lane {
    /// What is planned, in the order of its frames; what happens by chance instead of an upgrade, and behind frames.
    pub(super) fn new(
        seed: u64,
        steps: Vec<Step>,
        refusals: Vec<(Fault, u32)>,
        rates: Vec<(Fault, u32)>,
    ) -> Self {
        Self {
            random: Random::new(seed),
            steps: steps.into(),
            refusals,
            rates,
            frames: 0,
            due: VecDeque::new(),
        }
    }

    /// What happens instead of an upgrade.
    pub(crate) fn refusal(&mut self) -> Option<Fault> {
        let is_ours = |step: &Step| step.fault.is_refusal();
        if let Some(place) = self.steps.iter().position(is_ours) {
            return self.steps.remove(place).map(|step| step.fault);
        }
        by_chance(&mut self.random, &self.refusals)
    }

    /// A frame went out.
    pub(crate) fn sent(&mut self) {
        self.frames += 1;
        let chance = by_chance(&mut self.random, &self.rates);
        self.due.extend(chance);
    }

    /// What happens now: at the beginning, or before a frame that brings a new number.
    pub(crate) fn take(&mut self) -> Option<Fault> {
        let step = self.steps.pop_front_if(|step| step.frames <= self.frames);
        step.map(|step| step.fault).or_else(|| self.due.pop_front())
    }
}

fn by_chance(random: &mut Random, rates: &[(Fault, u32)]) -> Option<Fault> {
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
