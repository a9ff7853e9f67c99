//! Tracks the last position in each source, and the intervals of time that may be incomplete.

use skytide_core::event::{Gap, GapCause, Host, Message, OpenGap, SourcePosition, Sources, Tick};
use skytide_core::id::Cursor;
use skytide_core::time::Timestamp;

use super::counts::Counts;
use super::{Assembler, Cut, Position, Setup};

/// The state at which reading resumes.
pub(super) struct Resumed {
    pub(super) position: Position,
    pub(super) sources: Sources,
    /// The tick that ends the previous writer's epoch before any frame is read.
    pub(super) closing_tick: Option<Tick>,
}

impl Resumed {
    /// The state after the newest tick of the log.
    pub(super) fn after(setup: &Setup, newest: Option<&Tick>) -> Self {
        let Some(tick) = newest else {
            return Self::without_history(setup);
        };
        let mut sources = Sources {
            gaps: Vec::new(),
            ..tick.sources.clone()
        };
        let same = tick.host == setup.host || setup.former_hosts.contains(&tick.host);
        let mut position = if same {
            Position::of(tick)
        } else {
            switch_source(setup, tick, &mut sources)
        };
        let reset = setup.cursor_reset && !tick.sources.cursor_reset;
        sources.cursor_reset = setup.cursor_reset;
        if reset && position.cursor.take().is_some() {
            let cause = GapCause::CursorReset;
            open_gap(&mut sources, tick.time, cause);
        }
        Self {
            position,
            sources,
            closing_tick: (reset || tick.host != setup.host).then(|| closing_tick(tick)),
        }
    }

    fn without_history(setup: &Setup) -> Self {
        Self {
            position: Position::default(),
            sources: Sources {
                cursor_reset: setup.cursor_reset,
                ..Sources::default()
            },
            closing_tick: None,
        }
    }
}

/// Records the position in the source of the newest tick. Returns the position in the new source.
fn switch_source(setup: &Setup, tick: &Tick, sources: &mut Sources) -> Position {
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
        // The source resumes at its last position, which is earlier than the start of an open gap.
        Some(left) => {
            sources.open_gap = None;
            Position {
                cursor: Some(left.cursor),
                frames: left.frames,
            }
        }
        None => {
            open_gap(sources, tick.time, GapCause::NewSource);
            Position::default()
        }
    }
}

/// The tick that ends the events which a previous writer may have left after the newest tick. They
/// are of another source or numbering than the next events, so both must not share an epoch.
fn closing_tick(tick: &Tick) -> Tick {
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

fn open_gap(sources: &mut Sources, from: Timestamp, cause: GapCause) {
    if from > Timestamp(0) {
        sources.open_gap.get_or_insert(OpenGap { from, cause });
    }
}

impl Assembler {
    /// Ends the epoch that a previous writer may have left open, before any frame is read.
    pub(super) fn push_closing_tick(&mut self, tick: Tick) {
        self.epoch = tick.epoch;
        self.cuts.push(Cut {
            messages: vec![Message::Tick(tick.clone())],
            tick,
            counts: Counts::default(),
        });
    }

    /// Opens a gap: frames after this point may be missing.
    pub(super) fn open_gap(&mut self, cause: GapCause) {
        self.open_gap_from(self.time.now(), cause);
    }

    /// Opens a gap that starts at this network time.
    pub(super) fn open_gap_from(&mut self, from: Timestamp, cause: GapCause) {
        open_gap(&mut self.sources, from, cause);
    }

    /// Closes the open gap at the first frame after it, which claims this time.
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
