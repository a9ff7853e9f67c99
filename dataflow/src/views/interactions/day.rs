//! The counts of one day.

use skytide_core::view::InteractionRow;
use skytide_state::{Spill, SpillError};

use super::counts::{CountKey, Interaction, InteractionCounts, Pair, Totals};
use super::spilled::SpilledPairs;
use crate::operators::chunked_vec::ChunkedVec;
use crate::operators::count::Carries;
use crate::operators::interner::Interner;
use crate::sizes::Size;

/// The number of parts of a day. The buffer of a part is added up in one step, and a part is moved
/// to disk in one step. A step must not stall the stream.
pub(super) const PARTS: usize = 256;

/// The counts of a day, in parts by author.
pub(super) struct Day {
    pub parts: Box<[DayPart]>,
    /// The sizes of the parts when they were last computed; `None` if one may have changed since.
    size: Option<DaySize>,
    /// Writes pairs to disk; `None` before the first one.
    spill: Option<Spill>,
}

/// The size of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DaySize {
    /// The pairs in memory.
    pub hot: Size,
    /// The pairs on disk, and the memory that finds them.
    pub disk: Size,
}

impl DaySize {
    pub fn add(&mut self, part: Self) {
        self.hot.add(part.hot);
        self.disk.add(part.disk);
    }
}

impl Default for Day {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| DayPart::default()).collect(),
            size: None,
            spill: None,
        }
    }
}

impl Day {
    pub fn part(&mut self, (author, _): Pair) -> &mut DayPart {
        self.size = None;
        &mut self.parts[author as usize % PARTS]
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(DayPart::is_empty)
    }

    /// The size of all parts. It is computed only after a change.
    pub fn size(&mut self) -> DaySize {
        *self.size.get_or_insert_with(|| {
            let mut size = DaySize::default();
            size.hot.bytes = size_of_val(&*self.parts);
            self.parts.iter().for_each(|part| size.add(part.size()));
            size
        })
    }

    /// Moves the pairs of a part to disk, with the writer that `spill` creates. Returns the sizes
    /// of the part before and after.
    ///
    /// # Errors
    /// Writing failed. Then the pairs are still in memory.
    pub fn spill_part(
        &mut self,
        part: usize,
        spill: impl FnOnce() -> Spill,
    ) -> Result<(DaySize, DaySize), SpillError> {
        self.size = None;
        let part = &mut self.parts[part];
        let before = part.size();
        part.spill(self.spill.get_or_insert_with(spill))?;
        Ok((before, part.size()))
    }
}

/// The pairs of a day whose authors belong to one part.
#[derive(Debug, Default)]
pub(super) struct DayPart {
    pub counts: Interner<Pair, InteractionCounts>,
    /// The high 32 bits of counts.
    pub carries: Carries<CountKey>,
    /// Interactions to add to the counts before a pair is looked up.
    pub buffered: ChunkedVec<(Pair, Interaction)>,
    /// The counts that are on disk. Those in memory are added to them.
    pub spilled: SpilledPairs,
}

impl DayPart {
    fn is_empty(&self) -> bool {
        !self.is_hot() && self.spilled.is_empty()
    }

    /// Whether any pair is in memory.
    pub fn is_hot(&self) -> bool {
        !self.buffered.is_empty() || !self.counts.is_empty()
    }

    pub fn size(&self) -> DaySize {
        let mut hot = self.counts.size();
        hot.add(self.buffered.size());
        hot.bytes += self.carries.size().bytes;
        let disk = self.spilled.size();
        DaySize { hot, disk }
    }

    /// Adds the buffered interactions to the counts.
    fn flush(&mut self) {
        if self.buffered.is_empty() {
            return;
        }
        let buffered = std::mem::take(&mut self.buffered);
        for chunk in buffered.chunks() {
            let numbers = self.counts.intern_all(chunk.iter().map(|(pair, _)| pair));
            for (number, (pair, interaction)) in numbers.into_iter().zip(chunk) {
                self.counts[number].add(*interaction, *pair, &mut self.carries);
            }
        }
        for &(pair, _) in buffered.iter().filter(|(_, it)| it.diff < 0) {
            self.remove_zero(pair);
        }
    }

    pub fn add(&mut self, pair: Pair, interaction: Interaction) {
        self.flush();
        let number = self.counts.intern(&pair);
        self.counts[number].add(interaction, pair, &mut self.carries);
    }

    /// The counts of a pair in memory.
    pub fn hot_totals(&mut self, pair: Pair) -> Totals {
        self.flush();
        let number = self.counts.find(&pair);
        number.map_or(Totals::default(), |number| {
            self.counts[number].totals(pair, &self.carries)
        })
    }

    /// Removes a pair from memory if all its counts there are zero.
    pub fn remove_zero(&mut self, pair: Pair) {
        if let Some(number) = self.counts.find(&pair)
            && self.counts[number].totals(pair, &self.carries).is_zero()
        {
            self.counts.release(number);
        }
    }

    /// The numbers of all pairs in memory, in the order of the pairs.
    fn sorted_numbers(&self) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(self.counts.len());
        numbers.extend(self.counts.iter().map(|(number, ..)| number));
        numbers.sort_unstable_by_key(|&number| *self.counts.key(number));
        numbers
    }

    fn pair_of(&self, number: u32) -> (Pair, Totals) {
        let pair = *self.counts.key(number);
        (pair, self.counts[number].totals(pair, &self.carries))
    }

    /// Moves the pairs in memory to disk. After an error, all are still in memory.
    fn spill(&mut self, spill: &mut Spill) -> Result<(), SpillError> {
        self.flush();
        if self.counts.is_empty() {
            return Ok(());
        }
        let mut spilled = std::mem::take(&mut self.spilled);
        let numbers = self.sorted_numbers();
        let hot = numbers.iter().map(|&number| self.pair_of(number));
        let pushed = spilled.push(spill, hot);
        self.spilled = spilled;
        pushed?;
        self.counts = Interner::default();
        self.carries = Carries::default();
        Ok(())
    }

    /// Visits each pair with its row.
    pub fn visit_rows(mut self, mut visit: impl FnMut(Pair, InteractionRow)) {
        self.flush();
        let numbers = self.sorted_numbers();
        let hot = numbers.iter().map(|&number| self.pair_of(number));
        self.spilled.visit(hot, |pair, totals| {
            if let Some(row) = totals.row() {
                visit(pair, row);
            }
        });
    }
}
