//! Decodes one message of a relay (<https://atproto.com/specs/event-stream>,
//! <https://atproto.com/specs/sync>).
//!
//! ```text
//! bytes ─▶ header {op, t} ─▶ body ─┬─▶ Commit: ops ◀─ blocks (CAR): record bytes by CID, hashed
//!          envelope: Loose         └─▶ Identity, Account, Sync, Info, Error, Unknown
//! ```
//!
//! Decoding uses no socket, clock or state. Everything borrows from the message; a commit of one
//! operation allocates nothing. The result is a [`Frame`], whose commit may list dropped operations
//! ([`Commit::drops`]), or [`Rejected`], with the reason, and `seq` and account as far as they are
//! readable. So every message and every operation is either used or counted as dropped.
//!
//! The specification leaves some cases open. These rules apply here:
//! - The envelope is not content-addressed. Its keys may be in any order (relays write `op` before
//!   `t`), and unknown keys are ignored. A duplicate key is refused, because two readers could
//!   interpret it differently.
//! - A field whose type differs from its lexicon counts as absent. A message without a required
//!   field is rejected. `time` is not required: ingest assigns a time to a frame without it.
//! - `tooBig` is deprecated. It is ignored for a commit with operations and blocks.
//! - A create or update whose `cid` is missing, or is not the CID of a DAG-CBOR block by SHA-256,
//!   is used without its record: its key is live with unknown content.
//! - Types of the older protocol (`#handle`, `#tombstone`, `#migrate`) are [`Frame::Unknown`],
//!   because they were replaced.
//! - Records are not parsed here. Their bytes are logged unchanged, so a malformed record affects
//!   no other one.

mod blocks;
mod body;
mod commit;
mod message;
mod ops;

use skytide_core::cbor::{Loose, Reader};
use skytide_core::event::DropReason;

use body::{Body, parse_did};
pub use message::{Commit, Frame, Op, Rejected};

/// Largest size of a message in bytes (<https://atproto.com/specs/event-stream#framing>).
pub const FRAME_BYTES_MAX: usize = 5_000_000;
/// Largest size of the blocks of a commit in bytes (lexicon `com.atproto.sync.subscribeRepos`).
pub const BLOCKS_BYTES_MAX: usize = 2_000_000;
/// Largest number of operations of a commit (same lexicon).
pub const OPS_MAX: u32 = 200;

/// The blocks of a message that are checked by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// The records that operations name.
    Records,
    /// Every block. Also checks that the CAR's root is the commit, and that the signed commit in it
    /// has version 3 and names the same account and revision.
    Blocks,
}

/// Decodes a message.
///
/// # Errors
/// The message as a whole is unusable. A single malformed operation or record is not an error.
pub fn decode(bytes: &[u8], verify: Verify) -> Result<Frame<'_>, Rejected> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(DropReason::FrameSize.into());
    }
    let (header, rest) = read_header(bytes)?;
    let kind = match (header.op, header.t) {
        (Some(1), Some(t)) => t,
        (Some(-1), _) => return error(rest),
        (Some(1) | None, _) => return Err(DropReason::FrameShape.into()),
        (Some(_), _) => return Err(DropReason::FrameOp.into()),
    };
    match kind {
        COMMIT => with_body(COMMIT, rest, |body| commit::check(body, verify)),
        IDENTITY => with_body(IDENTITY, rest, identity),
        ACCOUNT => with_body(ACCOUNT, rest, account),
        SYNC => with_body(SYNC, rest, |body| sync(body, verify)),
        INFO => with_body(INFO, rest, info),
        _ => {
            let seq = Body::read_any(rest)?.seq;
            Ok(Frame::Unknown { t: kind, seq })
        }
    }
}

const COMMIT: &str = "#commit";
const IDENTITY: &str = "#identity";
const ACCOUNT: &str = "#account";
const SYNC: &str = "#sync";
const INFO: &str = "#info";

/// The header of a message.
#[derive(Default)]
struct Header<'a> {
    op: Option<i64>,
    t: Option<&'a str>,
}

/// The two encodings of the header that nearly every message has.
const COMMIT_HEADERS: [&[u8]; 2] = [b"\xa2at\x67#commitbop\x01", b"\xa2bop\x01at\x67#commit"];

#[inline]
fn read_header(bytes: &[u8]) -> Result<(Header<'_>, &[u8]), DropReason> {
    for header in COMMIT_HEADERS {
        if let Some(rest) = bytes.strip_prefix(header) {
            let (op, t) = (Some(1), Some(COMMIT));
            return Ok((Header { op, t }, rest));
        }
    }
    let mut header = Header::default();
    let mut reader = Reader::<Loose>::new(bytes);
    let map = reader.map(|reader, key| {
        match key {
            b"op" => header.op = reader.integer()?,
            b"t" => header.t = reader.text()?,
            _ => reader.skip()?,
        }
        Ok(())
    });
    match map {
        Ok(Some(())) => Ok((header, reader.rest())),
        Ok(None) => Err(DropReason::FrameShape),
        Err(_) => Err(DropReason::FrameCbor),
    }
}

/// Reads the body and passes it to `check`. An error contains the type, `seq` and account of the
/// body.
fn with_body<'a>(
    kind: &'static str,
    bytes: &'a [u8],
    check: impl FnOnce(&mut Body<'a>) -> Result<Frame<'a>, DropReason>,
) -> Result<Frame<'a>, Rejected> {
    let mut body = Body::default();
    body.read(bytes)
        .and_then(|()| check(&mut body))
        .map_err(|reason| Rejected {
            reason,
            seq: body.seq,
            kind: Some(kind),
            did: body.repo.or(body.did).and_then(|did| did.parse().ok()),
        })
}

fn identity<'a>(body: &mut Body<'a>) -> Result<Frame<'a>, DropReason> {
    Ok(Frame::Identity {
        seq: body.seq()?,
        time: body.time(),
        did: parse_did(body.did)?,
        handle: body.handle,
    })
}

fn account<'a>(body: &mut Body<'a>) -> Result<Frame<'a>, DropReason> {
    Ok(Frame::Account {
        seq: body.seq()?,
        time: body.time(),
        did: parse_did(body.did)?,
        active: body.active.ok_or(DropReason::FrameShape)?,
        status: body.status,
    })
}

fn sync<'a>(body: &mut Body<'a>, verify: Verify) -> Result<Frame<'a>, DropReason> {
    let (seq, time) = (body.seq()?, body.time());
    let (did, rev) = (parse_did(body.did)?, body.rev()?);
    if verify == Verify::Blocks {
        blocks::check_sync(body.blocks.unwrap_or_default(), &did, rev)?;
    }
    Ok(Frame::Sync {
        seq,
        time,
        did,
        rev,
    })
}

fn info<'a>(body: &mut Body<'a>) -> Result<Frame<'a>, DropReason> {
    Ok(Frame::Info {
        name: body.name.ok_or(DropReason::FrameShape)?,
        message: body.message,
    })
}

/// Decodes an error frame. The relay closes the connection after it, so a body that is not a map is
/// accepted, too.
fn error(rest: &[u8]) -> Result<Frame<'_>, Rejected> {
    let body = Body::read_any(rest)?;
    Ok(Frame::Error {
        name: body.error.unwrap_or_default(),
        message: body.message,
    })
}
