//! Which sources the log knows, where each was left, and which stretches of time may be incomplete.

use skytide_core::event::{Gap, GapCause, Host, Message, OpenGap, SourcePosition, Sources, Tick};
use skytide_core::id::Cursor;
use skytide_core::time::Timestamp;

use super::counts::Counts;
use super::{Assembler, Cut, Position, Setup};

/// Where reading resumes.
pub(super) struct Resumed {
    pub(super) position: Position,
    pub(super) sources: Sources,
    /// An epoch that ends before anything is read.
    pub(super) seam: Option<Tick>,
}

impl Resumed {
    /// After the newest tick of the log.
    pub(super) fn after(setup: &Setup, newest: Option<&Tick>) -> Self {
        let Some(tick) = newest else {
            return Self::at_first(setup);
        };
        let mut sources = Sources {
            gaps: Vec::new(),
            ..tick.sources.clone()
        };
        let same = tick.host == setup.host || setup.former_hosts.contains(&tick.host);
        let mut position = if same {
            Position::of(tick)
        } else {
            change(setup, tick, &mut sources)
        };
        let reset = setup.cursor_reset && !tick.sources.cursor_reset;
        sources.cursor_reset = setup.cursor_reset;
        if reset && position.cursor.take().is_some() {
            let cause = GapCause::CursorReset;
            open(&mut sources, tick.time, cause);
        }
        Self {
            position,
            sources,
            seam: (reset || tick.host != setup.host).then(|| seam(tick)),
        }
    }

    fn at_first(setup: &Setup) -> Self {
        Self {
            position: Position::default(),
            sources: Sources {
                cursor_reset: setup.cursor_reset,
                ..Sources::default()
            },
            seam: None,
        }
    }
}

/// Leaves the source of the newest tick; answers where reading resumes in ours.
fn change(setup: &Setup, tick: &Tick, sources: &mut Sources) -> Position {
    let names = std::iter::once(&setup.host).chain(&setup.former_hosts);
    let known: Vec<SourcePosition> = names
        .filter_map(|name| sources.others.remove(name))
        .collect();
    let known = known.into_iter().max_by_key(|left| left.time);
    if tick.cursor > Cursor(0) {
        let left = SourcePosition {
            cursor: tick.cursor,
            frames: tick.frames,
            time: tick.time,
        };
        sources.leave(tick.host.clone(), left);
    }
    match known {
        // It resumes where it was left, which is earlier than any gap that is open.
        Some(left) => {
            sources.open_gap = None;
            Position {
                cursor: Some(left.cursor),
                frames: left.frames,
            }
        }
        None => {
            open(sources, tick.time, GapCause::NewSource);
            Position::default()
        }
    }
}

/// The end of what a writer may have left behind the newest tick: its events are of another source or other numbers than
/// those to come, and no part of an epoch with them.
fn seam(tick: &Tick) -> Tick {
    Tick {
        epoch: skytide_core::id::Epoch(tick.epoch.0 + 1),
        last: false,
        idle: false,
        counts: std::collections::BTreeMap::new(),
        sources: Sources {
            gaps: Vec::new(),
            ..tick.sources.clone()
        },
        ..tick.clone()
    }
}

fn open(sources: &mut Sources, from: Timestamp, cause: GapCause) {
    if from > Timestamp(0) {
        sources.open_gap.get_or_insert(OpenGap { from, cause });
    }
}

impl Assembler {
    /// Ends the epoch that a writer may have left open, before anything is read.
    pub(super) fn write_seam(&mut self, tick: Tick) {
        self.epoch = tick.epoch;
        self.cuts.push(Cut {
            messages: vec![Message::Tick(tick.clone())],
            tick,
            counts: Counts::default(),
        });
    }

    /// What follows may not be all that follows.
    pub(super) fn open_gap(&mut self, cause: GapCause) {
        open(&mut self.sources, self.time.now(), cause);
    }

    /// The first frame after a gap, which claims to be of this time.
    pub(super) fn close_gap(&mut self, claimed: Timestamp) {
        let Some(OpenGap { from, cause }) = self.sources.open_gap.take() else {
            return;
        };
        let claimed = claimed.max(self.time.median());
        let claimed = self.ceiling.map_or(claimed, |clock| claimed.min(clock));
        let gap = Gap {
            from,
            to: claimed.max(from),
            cause,
        };
        // The other relay's stream starts earlier than the previous one ended: nothing is missing.
        if gap.to == gap.from && cause == GapCause::NewSource {
            return;
        }
        self.counts.coverage_gap(&gap);
        self.sources.push_gap(gap);
        self.notes.push(super::Note::Gap(gap));
    }

    /// The stream's name.
    pub fn host(&self) -> &Host {
        &self.setup.host
    }
}
