//! Applies a new frame: its events are pushed, or it is dropped with a reason.

use bytes::Bytes;
use skytide_core::event::{Body, DropReason, Event, GapCause, Moved, Op};
use skytide_core::id::{Cursor, Did, Handle, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncated};
use skytide_core::time::Timestamp;

use super::meta::{did, parse_time};
use super::{Assembler, Note};
use crate::frame::{self, Commit, Frame};

/// How far a revision may be ahead of both network time and the time of its own frame.
const REV_AHEAD_MICROS_MAX: u64 = 5 * 60 * 1_000_000;
/// Maximum number of characters of a relay's text in a line of the program's own log.
const EXCERPT_CHARS_MAX: usize = 200;

impl Assembler {
    /// Applies the next frame of the stream.
    pub(super) fn apply(&mut self, frame: &Frame<'_>, bytes: &Bytes) {
        if did(frame).is_some_and(|did| !self.setup.filter.reads_account(did)) {
            return self.counts.drop(DropReason::FilterDid, 1);
        }
        match frame {
            Frame::Commit(commit) => self.apply_commit(commit, bytes),
            Frame::Identity {
                seq,
                did,
                handle,
                time,
            } => {
                let handle = handle.and_then(|text| self.checked_handle(text, bytes));
                let sent = self.sent(time);
                self.push_event(*seq, did, Body::Identity { handle, sent });
            }
            Frame::Account {
                seq,
                did,
                active,
                status,
                time,
            } => {
                let limited = status.map(|status| truncated(status, STATUS_BYTES_MAX));
                if limited != *status {
                    self.drop(DropReason::TextLimit, bytes);
                }
                let body = Body::Account {
                    active: *active,
                    status: limited.map(Box::from),
                    sent: self.sent(time),
                };
                self.push_event(*seq, did, body);
            }
            Frame::Sync {
                seq,
                did,
                rev,
                time,
            } if self.is_plausible(*rev, time) => {
                // `#sync` reports a new revision without its operations.
                let why = Moved::Sync;
                self.push_event(*seq, did, Body::Moved { rev: *rev, why });
            }
            Frame::Sync { .. } => self.drop(DropReason::RevFuture, bytes),
            Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown { .. } => {
                self.apply_unnumbered(frame, bytes);
            }
        }
    }

    /// Applies a frame that holds no event. Such a frame has no `seq`, unless its type is unknown.
    pub(super) fn apply_unnumbered(&mut self, frame: &Frame<'_>, bytes: &Bytes) {
        match frame {
            Frame::Info { name, message } => {
                self.counts.info(name);
                if *name == "OutdatedCursor" {
                    self.open_gap(GapCause::OutdatedCursor);
                }
                let (name, message) = (excerpt(name), excerpt(message.unwrap_or_default()));
                self.notes.push(Note::Info { name, message });
            }
            Frame::Error { name, message } => {
                self.counts.error(name);
                self.drop(DropReason::FrameError, bytes);
                let (name, message) = (excerpt(name), excerpt(message.unwrap_or_default()));
                self.notes.push(Note::Error { name, message });
            }
            _ => self.drop(DropReason::FrameType, bytes),
        }
    }

    fn apply_commit(&mut self, commit: &Commit<'_>, bytes: &Bytes) {
        if !self.is_plausible(commit.rev, commit.time) {
            return self.drop(DropReason::RevFuture, bytes);
        }
        for &reason in &commit.drops {
            match reason {
                // The operation is still written; the dataflow counts the drop if it applies the
                // commit.
                DropReason::OpCid | DropReason::RecordMissing => self.sample(reason, bytes),
                _ => self.drop(reason, bytes),
            }
        }
        if commit.too_big {
            self.drop(DropReason::CommitTooBig, bytes);
        }
        if commit.too_big || commit.ops.is_empty() {
            let why = if commit.too_big {
                Moved::TooBig
            } else {
                Moved::Empty
            };
            let rev = commit.rev;
            return self.push_event(commit.seq, &commit.did, Body::Moved { rev, why });
        }
        self.count_repeated_paths(commit);
        let since = commit
            .since
            // A filter may skip whole commits, so the dataflow could not find the revision that
            // `since` names.
            .filter(|_| self.setup.filter.reads_all_collections());
        for op in &commit.ops {
            if self.setup.filter.reads_collection(op.collection) {
                self.push_op(commit, op, since);
            } else {
                self.counts.drop(DropReason::FilterCollection, 1);
            }
        }
    }

    fn push_op(&mut self, commit: &Commit<'_>, op: &frame::Op<'_>, since: Option<Tid>) {
        let (Ok(collection), Ok(rkey)) = (op.collection.parse(), op.rkey.parse()) else {
            return self.counts.drop(DropReason::OpPath, 1);
        };
        let body = Body::Op(Op {
            rev: commit.rev,
            since,
            action: op.action,
            collection,
            rkey,
            cid: op.cid,
            record: op.record.map(Box::from),
        });
        let event = Event {
            host: self.setup.host.clone(),
            seq: commit.seq,
            index: op.index,
            time: self.time.now(),
            did: commit.did.clone(),
            body,
        };
        self.push(event);
    }

    /// The handle to append to the log: a valid one, or `handle.invalid`, which the dataflow
    /// counts.
    fn checked_handle(&mut self, text: &str, bytes: &Bytes) -> Option<Box<str>> {
        if Handle::is_invalid(text) {
            self.sample(DropReason::Handle, bytes);
            return Some(Handle::INVALID.into());
        }
        let handle = text.parse::<Handle>();
        if handle.is_err() {
            self.drop(DropReason::Handle, bytes);
        }
        handle.ok().map(Into::into)
    }

    /// Pushes an event that is not an operation.
    fn push_event(&mut self, seq: Cursor, did: &Did, body: Body) {
        let event = Event {
            host: self.setup.host.clone(),
            seq,
            index: 0,
            time: self.time.now(),
            did: did.clone(),
            body,
        };
        self.push(event);
    }

    /// The time that the frame of an `#identity` or `#account` claims. On a live stream, `None` if it
    /// is too far after the machine's clock: a forged time must not make all later ones look older.
    fn sent(&self, time: &str) -> Option<Timestamp> {
        let latest = self
            .ceiling
            .map(|clock| Timestamp(clock.0.saturating_add(REV_AHEAD_MICROS_MAX / 1_000)));
        parse_time(time).filter(|sent| latest.is_none_or(|latest| *sent <= latest))
    }

    /// Whether a revision is not in the future.
    ///
    /// Network time is a median, so it lags after a slow or interrupted stream: right after a pause
    /// it is still the time at which the pause started. Therefore, a revision is also accepted if
    /// it is not in the future of the time in its own frame (`sent`). On a live stream, the
    /// machine's clock limits that time.
    fn is_plausible(&self, rev: Tid, sent: &str) -> bool {
        let allows = |time: Timestamp| {
            let micros = time.0.saturating_mul(1_000);
            rev.micros() <= micros.saturating_add(REV_AHEAD_MICROS_MAX)
        };
        allows(self.time.now())
            || parse_time(sent)
                .map(|sent| self.ceiling.map_or(sent, |clock| sent.min(clock)))
                .is_some_and(allows)
    }

    fn count_repeated_paths(&mut self, commit: &Commit<'_>) {
        if commit.ops.len() < 2 {
            return;
        }
        let paths = commit.ops.iter().map(|op| (op.collection, op.rkey));
        let distinct: std::collections::BTreeSet<_> = paths.collect();
        self.counts.paths_repeated += (commit.ops.len() - distinct.len()) as u64;
    }
}

/// A relay's text, truncated for a log line.
fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}
