//! Reads the fields of a tick that only ticks of several sources have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::read::{Reader, number};
use crate::cbor::Error;
use crate::event::{Gap, GapCause, Host, OpenGap, SourcePosition};
use crate::id::Cursor;
use crate::time::Timestamp;

/// A map of hosts to `[cursor, frames, time]`.
pub(super) fn sources(
    reader: &mut Reader<'_>,
) -> Result<Option<BTreeMap<Host, SourcePosition>>, Error> {
    let mut sources = BTreeMap::new();
    let mut whole = true;
    let read = reader.map(|reader, name| {
        let mut numbers = Vec::new();
        let list = reader.list(|reader| {
            numbers.push(number(reader)?);
            Ok(())
        })?;
        match (list, std::str::from_utf8(name), numbers.as_slice()) {
            (Some(()), Ok(name), [Some(cursor), Some(frames), Some(time)]) => {
                let position = SourcePosition {
                    cursor: Cursor(*cursor),
                    frames: *frames,
                    time: Timestamp(*time),
                };
                sources.insert(Arc::from(name), position);
            }
            _ => whole = false,
        }
        Ok(())
    })?;
    Ok(read.filter(|()| whole).map(|()| sources))
}

/// A map of `from` and `cause`.
pub(super) fn open_gap(reader: &mut Reader<'_>) -> Result<Option<OpenGap>, Error> {
    let stretch = Stretch::read(reader)?;
    Ok(stretch.and_then(|it| {
        let (from, cause) = (it.from?, it.cause?);
        Some(OpenGap { from, cause })
    }))
}

/// A list of maps of `from`, `to` and `cause`.
pub(super) fn gaps(reader: &mut Reader<'_>) -> Result<Option<Vec<Gap>>, Error> {
    let (mut gaps, mut whole) = (Vec::new(), true);
    let read = reader.list(|reader| {
        let gap = Stretch::read(reader)?.and_then(|it| {
            let (from, to, cause) = (it.from?, it.to?, it.cause?);
            Some(Gap { from, to, cause })
        });
        whole &= gap.is_some();
        gaps.extend(gap);
        Ok(())
    })?;
    Ok(read.filter(|()| whole).map(|()| gaps))
}

#[derive(Default)]
struct Stretch {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cause: Option<GapCause>,
}

impl Stretch {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let mut stretch = Self::default();
        let read = reader.map(|reader, key| {
            match key {
                b"from" => stretch.from = number(reader)?.map(Timestamp),
                b"to" => stretch.to = number(reader)?.map(Timestamp),
                b"cause" => stretch.cause = cause(reader.text()?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(read.map(|()| stretch))
    }
}

fn cause(word: Option<&str>) -> Option<GapCause> {
    let mut all = GapCause::ALL.into_iter();
    all.find(|cause| Some(cause.as_str()) == word)
}
