//! Decodes the fields of a tick about sources and gaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::{Reader, number};
use crate::cbor::Error;
use crate::event::{Gap, GapCause, Host, OpenGap, SourcePosition};
use crate::id::Cursor;
use crate::time::Timestamp;

/// Reads a map from host to `[cursor, frames, time]`.
pub(super) fn sources(
    reader: &mut Reader<'_>,
) -> Result<Option<BTreeMap<Host, SourcePosition>>, Error> {
    let mut sources = BTreeMap::new();
    let mut is_valid = true;
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
            _ => is_valid = false,
        }
        Ok(())
    })?;
    Ok(read.filter(|()| is_valid).map(|()| sources))
}

/// Reads a map of `from` and `cause`.
pub(super) fn open_gap(reader: &mut Reader<'_>) -> Result<Option<OpenGap>, Error> {
    let fields = GapFields::read(reader)?;
    Ok(fields.and_then(|it| {
        let (from, cause) = (it.from?, it.cause?);
        Some(OpenGap { from, cause })
    }))
}

/// Reads a list of maps of `from`, `to` and `cause`.
pub(super) fn gaps(reader: &mut Reader<'_>) -> Result<Option<Vec<Gap>>, Error> {
    let (mut gaps, mut is_valid) = (Vec::new(), true);
    let read = reader.list(|reader| {
        let gap = GapFields::read(reader)?.and_then(|it| {
            let (from, to, cause) = (it.from?, it.to?, it.cause?);
            Some(Gap { from, to, cause })
        });
        is_valid &= gap.is_some();
        gaps.extend(gap);
        Ok(())
    })?;
    Ok(read.filter(|()| is_valid).map(|()| gaps))
}

#[derive(Default)]
struct GapFields {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    cause: Option<GapCause>,
}

impl GapFields {
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let mut fields = Self::default();
        let read = reader.map(|reader, key| {
            match key {
                b"from" => fields.from = number(reader)?.map(Timestamp),
                b"to" => fields.to = number(reader)?.map(Timestamp),
                b"cause" => fields.cause = cause(reader.text()?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        Ok(read.map(|()| fields))
    }
}

fn cause(word: Option<&str>) -> Option<GapCause> {
    let mut all = GapCause::ALL.into_iter();
    all.find(|cause| Some(cause.as_str()) == word)
}
