//! The relay's numbering: distinguishes new frames, repeated frames and a restart of the numbering.
//!
//! Numbers may be skipped (gaps are legal) and may repeat. A relay that treats the cursor as
//! inclusive sends one frame again (indigo#837), and a relay that rewinds after a restart sends
//! many again. Such frames were applied and are skipped. A relay may also lose its counter and
//! start over (indigo#1133 went from 20 billion to 1). All its frames then have old numbers and
//! would be skipped forever. The time distinguishes the two cases: a repeated frame is not newer
//! than the frames before it.
//!
//! The rule:
//!
//! - A frame with an old number is a *suspect*. Consecutive suspects with rising numbers form a
//!   *run* and are buffered.
//! - The numbering counts as reset when, of the newest [`SUSPECTS`] suspects of the run, at least
//!   [`SUSPECTS_NEWER`] have a time later than the frames before the run
//!   ([`NetworkTime::newest_agreed`](super::time::NetworkTime::newest_agreed)). All buffered
//!   suspects are then applied. The times of a relay vary by up to a second, in which hundreds of
//!   frames arrive, so the reset is detected late; the buffer keeps them from being lost.
//! - A frame with a new number ends the run: its suspects were repetitions. A suspect whose number
//!   does not rise within the run is a repetition, too.

use std::collections::VecDeque;

use bytes::Bytes;
use skytide_core::id::Cursor;
use skytide_core::time::Timestamp;

/// The number of suspects that decide about a reset: the newest ones of the run.
pub(crate) const SUSPECTS: usize = 32;
/// The number of these suspects that must be newer than the frames before the run, for a reset.
pub(crate) const SUSPECTS_NEWER: usize = 24;
/// Largest number of buffered suspects: twice the frames of a second at the largest rate seen. The
/// oldest suspects of a longer run are repetitions.
const SUSPECTS_MAX: usize = 4_096;
/// Largest size of buffered suspects. Above it the bytes of the oldest ones are dropped, so that
/// these frames are lost in a reset.
const SUSPECT_BYTES_MAX: usize = 16 << 20;
/// Largest step by which an unusable frame may advance the position, if the frame is whole.
const UNUSABLE_STEP_MAX: u64 = 1_000;

/// The position in the relay's numbering, and the frames that may show that it restarted.
#[derive(Debug)]
pub(crate) struct SeqWatch {
    newest: Option<Cursor>,
    suspects: VecDeque<Suspect>,
    /// The number of suspects, the oldest ones, whose bytes were dropped because of the size limit.
    suspects_without_bytes: usize,
    suspect_bytes: usize,
}

#[derive(Debug)]
struct Suspect {
    seq: Cursor,
    /// Whether its time is later than the newest time on which the frames before the run agree.
    newer: bool,
    bytes: Option<Bytes>,
}

/// The meaning of a frame's number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The frame is new. `missing` numbers were left out before it, and `repeated` buffered
    /// suspects turned out to be repetitions.
    New { missing: u64, repeated: u64 },
    /// The frame has an old number: it is buffered or skipped. `repeated` frames (this one or
    /// earlier suspects) are now known to be repetitions.
    Old { repeated: u64 },
    /// The numbering restarted after `before`. `frames`, which include the newest one, are to be
    /// applied in order; the bytes of `lost` more were dropped.
    Reset {
        frames: Vec<Bytes>,
        lost: u64,
        before: Cursor,
    },
}

/// A frame with its number and time.
pub(crate) struct SequencedFrame<'a> {
    pub(crate) seq: Cursor,
    pub(crate) time: Option<Timestamp>,
    pub(crate) bytes: &'a Bytes,
}

impl SeqWatch {
    pub(crate) fn at(newest: Option<Cursor>) -> Self {
        Self {
            newest,
            suspects: VecDeque::new(),
            suspects_without_bytes: 0,
            suspect_bytes: 0,
        }
    }

    /// The newest number that was applied.
    pub(crate) fn newest(&self) -> Option<Cursor> {
        self.newest
    }

    /// Whether a frame of this number would be the first suspect of a run.
    pub(crate) fn starts_suspects(&self, seq: Cursor) -> bool {
        self.suspects.is_empty() && self.newest.is_some_and(|newest| seq < newest)
    }

    /// The number of buffered suspects.
    pub(crate) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// Classifies the next frame. `agreed` is the newest time on which the frames before it agree.
    pub(crate) fn step(&mut self, frame: &SequencedFrame<'_>, agreed: Timestamp) -> Step {
        match self.newest {
            // The newest frame again, from a relay that treats the cursor as inclusive.
            Some(newest) if frame.seq == newest && self.suspects.is_empty() => {
                Step::Old { repeated: 1 }
            }
            Some(newest) if frame.seq <= newest => self.add_suspect(frame, agreed, newest),
            newest => {
                let repeated = self.discard_suspects();
                self.newest = Some(frame.seq);
                let missing = newest.map_or(0, |newest| frame.seq.0 - newest.0 - 1);
                Step::New { missing, repeated }
            }
        }
    }

    /// Advances the position past an unusable frame, so that it is neither requested again nor
    /// counted as a gap. The number of a frame that is not whole is trusted only if it is the next
    /// one. Returns how many numbers were left out before it.
    pub(crate) fn skip(&mut self, seq: Cursor, is_whole: bool) -> u64 {
        let Some(newest) = self.newest else { return 0 };
        let step = seq.0.saturating_sub(newest.0);
        let step_max = if is_whole { UNUSABLE_STEP_MAX } else { 1 };
        if !(1..=step_max).contains(&step) {
            return 0;
        }
        self.newest = Some(seq);
        step - 1
    }

    /// Drops all buffered suspects, which were repetitions. Returns how many there were.
    pub(crate) fn discard_suspects(&mut self) -> u64 {
        (self.suspect_bytes, self.suspects_without_bytes) = (0, 0);
        let count = self.suspects.len() as u64;
        self.suspects.clear();
        count
    }

    fn add_suspect(
        &mut self,
        frame: &SequencedFrame<'_>,
        agreed: Timestamp,
        newest: Cursor,
    ) -> Step {
        if self
            .suspects
            .back()
            .is_some_and(|last| frame.seq == last.seq)
        {
            return Step::Old { repeated: 1 };
        }
        let mut repeated = 0;
        if self
            .suspects
            .back()
            .is_some_and(|last| frame.seq < last.seq)
        {
            repeated += self.discard_suspects();
        }
        self.suspects.push_back(Suspect {
            seq: frame.seq,
            newer: frame.time.is_some_and(|time| time > agreed),
            bytes: Some(frame.bytes.clone()),
        });
        self.suspect_bytes += frame.bytes.len();
        if self.suspects.len() > SUSPECTS_MAX {
            self.drop_oldest();
            repeated += 1;
        }
        self.drop_oldest_bytes();
        let newest_ones = self.suspects.iter().rev().take(SUSPECTS);
        let newer = newest_ones.filter(|suspect| suspect.newer).count();
        if self.suspects.len() < SUSPECTS || newer < SUSPECTS_NEWER {
            return Step::Old { repeated };
        }
        self.reset(newest)
    }

    fn reset(&mut self, before: Cursor) -> Step {
        let total = self.suspects.len() as u64;
        let frames: Vec<Bytes> = self.suspects.drain(..).filter_map(|s| s.bytes).collect();
        (self.suspect_bytes, self.suspects_without_bytes) = (0, 0);
        self.newest = None;
        let lost = total - frames.len() as u64;
        Step::Reset {
            frames,
            lost,
            before,
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.suspects.pop_front() {
            self.suspect_bytes -= oldest.bytes.map_or(0, |bytes| bytes.len());
            self.suspects_without_bytes = self.suspects_without_bytes.saturating_sub(1);
        }
    }

    fn drop_oldest_bytes(&mut self) {
        while self.suspect_bytes > SUSPECT_BYTES_MAX
            && let Some(suspect) = self.suspects.get_mut(self.suspects_without_bytes)
        {
            self.suspect_bytes -= suspect.bytes.take().map_or(0, |bytes| bytes.len());
            self.suspects_without_bytes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGREED: Timestamp = Timestamp(1_000);

    fn step(watch: &mut SeqWatch, seq: u64, time: u64) -> Step {
        let bytes = Bytes::from(seq.to_be_bytes().to_vec());
        let frame = SequencedFrame {
            seq: Cursor(seq),
            time: Some(Timestamp(time)),
            bytes: &bytes,
        };
        watch.step(&frame, AGREED)
    }

    #[test]
    fn gaps_are_counted_and_repetitions_are_skipped() {
        let mut watch = SeqWatch::at(Some(Cursor(10)));
        let new = |missing, repeated| Step::New { missing, repeated };
        assert_eq!(step(&mut watch, 11, 1), new(0, 0));
        assert_eq!(step(&mut watch, 15, 1), new(3, 0));
        assert_eq!(step(&mut watch, 15, 1), Step::Old { repeated: 1 });
        assert_eq!(step(&mut watch, 14, 1), Step::Old { repeated: 0 });
        assert_eq!(step(&mut watch, 14, 1), Step::Old { repeated: 1 });
        assert_eq!(step(&mut watch, 12, 1), Step::Old { repeated: 1 });
        assert_eq!(step(&mut watch, 16, 1), new(0, 1));
        assert_eq!(watch.newest(), Some(Cursor(16)));
    }

    #[test]
    fn repeated_old_frames_are_never_a_reset() {
        let mut watch = SeqWatch::at(Some(Cursor(10_000)));
        let repeated: u64 = (1..=10_000)
            .map(|seq| match step(&mut watch, seq, 1_000) {
                Step::Old { repeated } => repeated,
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(repeated, 10_000 - SUSPECTS_MAX as u64);
        let new = step(&mut watch, 10_001, 1_000);
        let (missing, repeated) = (0, SUSPECTS_MAX as u64);
        assert_eq!(new, Step::New { missing, repeated });
    }

    #[test]
    fn a_restarted_numbering_is_a_reset_and_loses_no_frame() {
        let mut watch = SeqWatch::at(Some(Cursor(20_000_000_000)));
        for seq in 1..SUSPECTS as u64 {
            let time = if seq % 4 == 0 { 900 } else { 2_000 };
            assert_eq!(step(&mut watch, seq, time), Step::Old { repeated: 0 });
        }
        let Step::Reset {
            frames,
            lost: 0,
            before: Cursor(20_000_000_000),
        } = step(&mut watch, SUSPECTS as u64, 2_000)
        else {
            panic!("no reset");
        };
        let seqs: Vec<u64> = frames
            .iter()
            .map(|bytes| u64::from_be_bytes(bytes[..].try_into().unwrap()))
            .collect();
        assert_eq!(seqs, (1..=SUSPECTS as u64).collect::<Vec<_>>());
        assert_eq!(watch.newest(), None);
    }

    #[test]
    fn suspects_received_before_the_reset_was_detected_are_buffered() {
        let mut watch = SeqWatch::at(Some(Cursor(20_000_000_000)));
        for seq in 1..=1_000 {
            let time = if seq % 2 == 0 { 900 } else { 2_000 };
            assert_eq!(step(&mut watch, seq, time), Step::Old { repeated: 0 });
        }
        let mut last = (1_001..).map(|seq| step(&mut watch, seq, 2_000));
        let reset = last.find(|step| *step != Step::Old { repeated: 0 });
        let Some(Step::Reset { frames, lost, .. }) = reset else {
            panic!("{reset:?}");
        };
        assert_eq!((frames.len(), lost), (1_016, 0));
    }

    #[test]
    fn the_bytes_of_buffered_suspects_are_bounded() {
        let mut watch = SeqWatch::at(Some(Cursor(1_000)));
        let bytes = Bytes::from(vec![0; 5_000_000]);
        for seq in 1..=SUSPECTS as u64 {
            let frame = SequencedFrame {
                seq: Cursor(seq),
                time: Some(Timestamp(2_000)),
                bytes: &bytes,
            };
            match watch.step(&frame, AGREED) {
                Step::Old { .. } => assert!(watch.suspect_bytes <= SUSPECT_BYTES_MAX),
                Step::Reset { frames, lost, .. } => {
                    assert_eq!((frames.len(), lost), (3, SUSPECTS as u64 - 3));
                    return;
                }
                Step::New { .. } => panic!("seq {seq} is old"),
            }
        }
        panic!("no reset");
    }

    #[test]
    fn an_unusable_frame_advances_the_position_by_a_bounded_step() {
        let mut watch = SeqWatch::at(Some(Cursor(10)));
        assert_eq!(watch.skip(Cursor(12), true), 1);
        for (seq, whole) in [(14, false), (1 << 60, true), (3, true), (3, false)] {
            assert_eq!(watch.skip(Cursor(seq), whole), 0);
        }
        assert_eq!(watch.newest(), Some(Cursor(12)));
        assert_eq!(watch.skip(Cursor(13), false), 0);
        assert_eq!(watch.newest(), Some(Cursor(13)));
    }
}
