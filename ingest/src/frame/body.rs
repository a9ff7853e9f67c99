//! The body of a message: the fields of all types by name.

use skytide_core::cbor::{Error, Loose, Reader};
use skytide_core::event::DropReason;
use skytide_core::id::{Cid, Cursor, Did, Tid};

use super::ops::OpList;

/// The fields of a body. A field that is absent or has an unexpected type is `None`.
#[derive(Default)]
pub(super) struct Body<'a> {
    pub(super) seq: Option<Cursor>,
    pub(super) time: Option<&'a str>,
    /// The account, except in a commit.
    pub(super) did: Option<&'a str>,
    /// The account of a commit.
    pub(super) repo: Option<&'a str>,
    pub(super) rev: Option<&'a str>,
    pub(super) since: Option<&'a str>,
    pub(super) blocks: Option<&'a [u8]>,
    pub(super) commit: Option<Cid>,
    pub(super) too_big: Option<bool>,
    pub(super) ops: OpList<'a>,
    pub(super) handle: Option<&'a str>,
    pub(super) active: Option<bool>,
    pub(super) status: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    pub(super) error: Option<&'a str>,
}

impl<'a> Body<'a> {
    /// Reads the body of a known type. Fields that were read before an error remain set.
    pub(super) fn read(&mut self, bytes: &'a [u8]) -> Result<(), DropReason> {
        let mut reader = Reader::<Loose>::new(bytes);
        match reader.map(|reader, key| self.field(reader, key)) {
            Ok(Some(())) if reader.end().is_ok() => Ok(()),
            Ok(None) if reader.end().is_ok() => Err(DropReason::FrameShape),
            _ => Err(DropReason::FrameCbor),
        }
    }

    /// Reads the body of an error or of an unknown type, which need not be a map.
    pub(super) fn read_any(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut body = Self::default();
        match body.read(bytes) {
            Ok(()) | Err(DropReason::FrameShape) => Ok(body),
            Err(reason) => Err(reason),
        }
    }

    fn field(&mut self, reader: &mut Reader<'a, Loose>, key: &[u8]) -> Result<(), Error> {
        match key {
            b"ops" => self.ops.read(reader)?,
            b"rev" => self.rev = reader.text()?,
            b"seq" => self.seq = seq(reader.integer()?),
            b"did" => self.did = reader.text()?,
            b"repo" => self.repo = reader.text()?,
            b"time" => self.time = reader.text()?,
            b"since" => self.since = reader.text()?,
            b"blocks" => self.blocks = reader.bytes()?,
            b"commit" => self.commit = reader.link()?,
            b"tooBig" => self.too_big = reader.boolean()?,
            b"handle" => self.handle = reader.text()?,
            b"active" => self.active = reader.boolean()?,
            b"status" => self.status = reader.text()?,
            b"name" => self.name = reader.text()?,
            b"message" => self.message = reader.text()?,
            b"error" => self.error = reader.text()?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    pub(super) fn seq(&self) -> Result<Cursor, DropReason> {
        self.seq.ok_or(DropReason::FrameShape)
    }

    /// The time as written, or an empty text. The caller parses it.
    pub(super) fn time(&self) -> &'a str {
        self.time.unwrap_or_default()
    }

    pub(super) fn rev(&self) -> Result<Tid, DropReason> {
        let text = self.rev.ok_or(DropReason::FrameShape)?;
        text.parse().map_err(|_| DropReason::Rev)
    }
}

pub(super) fn parse_did(text: Option<&str>) -> Result<Did, DropReason> {
    let text = text.ok_or(DropReason::FrameShape)?;
    text.parse().map_err(|_| DropReason::Did)
}

fn seq(number: Option<i64>) -> Option<Cursor> {
    number.and_then(|seq| u64::try_from(seq).ok()).map(Cursor)
}
