//! Messages as relays send them: a header followed by a body, both in DAG-CBOR
//! (<https://atproto.com/specs/event-stream#framing>, lexicon `com.atproto.sync.subscribeRepos`).

use crate::cbor::{Cbor, Digest};

/// How the header is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Header {
    /// `{t, op}`, in the order of DAG-CBOR.
    #[default]
    Usual,
    /// `{op, t}`.
    OpFirst,
    /// With a field outside the lexicon. The body then has one as well.
    Extended,
}

/// One operation of a commit, as the message encodes it.
#[derive(Clone, Debug)]
pub(crate) struct CommitOp {
    pub(crate) action: &'static str,
    pub(crate) path: String,
    pub(crate) cid: Option<Digest>,
    pub(crate) prev: Option<Digest>,
}

/// A `#commit`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commit<'a> {
    pub(crate) header: Header,
    pub(crate) ops: Vec<CommitOp>,
    pub(crate) rev: &'a str,
    pub(crate) seq: u64,
    /// `None` omits the field.
    pub(crate) repo: Option<&'a str>,
    pub(crate) time: &'a str,
    pub(crate) since: Option<&'a str>,
    /// `None` omits the field.
    pub(crate) blocks: Option<&'a [u8]>,
    pub(crate) commit: Digest,
    pub(crate) too_big: bool,
    pub(crate) prev_data: Option<Digest>,
}

impl Header {
    pub(crate) fn write(self, kind: &str) -> Cbor {
        let mut cbor = Cbor::with_capacity(64);
        match self {
            Self::Usual => cbor.map(2).text("t").text(kind).text("op").uint(1),
            Self::OpFirst => cbor.map(2).text("op").uint(1).text("t").text(kind),
            Self::Extended => {
                cbor.map(3).text("t").text(kind).text("op").uint(1);
                cbor.text("hint").list(1).text("new")
            }
        };
        cbor
    }
}

impl Commit<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut cbor = self.header.write("#commit");
        cbor.0
            .reserve(self.blocks.map_or(0, <[u8]>::len) + 400 + 160 * self.ops.len());
        let extended = self.header == Header::Extended;
        let optional = [
            self.repo.is_some(),
            self.blocks.is_some(),
            self.prev_data.is_some(),
            extended,
        ];
        cbor.map(9 + optional.iter().filter(|&&there| there).count());
        cbor.text("ops").list(self.ops.len());
        for op in &self.ops {
            op.write(&mut cbor);
        }
        cbor.text("rev").text(self.rev).text("seq").uint(self.seq);
        if let Some(repo) = self.repo {
            cbor.text("repo").text(repo);
        }
        cbor.text("time")
            .text(self.time)
            .text("blobs")
            .list(0)
            .text("since");
        match self.since {
            Some(since) => cbor.text(since),
            None => cbor.null(),
        };
        if let Some(blocks) = self.blocks {
            cbor.text("blocks").bytes(blocks);
        }
        cbor.text("commit").link(&self.commit);
        cbor.text("rebase")
            .boolean(false)
            .text("tooBig")
            .boolean(self.too_big);
        if let Some(prev_data) = &self.prev_data {
            cbor.text("prevData").link(prev_data);
        }
        if extended {
            cbor.text("somethingNew").map(1).text("depth").uint(3);
        }
        cbor.0
    }
}

impl CommitOp {
    fn write(&self, cbor: &mut Cbor) {
        cbor.map(3 + usize::from(self.prev.is_some()));
        cbor.text("cid").link_or_null(self.cid.as_ref());
        cbor.text("path").text(&self.path);
        if let Some(prev) = &self.prev {
            cbor.text("prev").link(prev);
        }
        cbor.text("action").text(self.action);
    }
}

/// An `#identity`.
pub(crate) fn identity(seq: u64, did: &str, time: &str, handle: Option<&str>) -> Vec<u8> {
    let mut cbor = Header::Usual.write("#identity");
    cbor.map(3 + usize::from(handle.is_some()));
    cbor.text("did")
        .text(did)
        .text("seq")
        .uint(seq)
        .text("time")
        .text(time);
    if let Some(handle) = handle {
        cbor.text("handle").text(handle);
    }
    cbor.0
}

/// An `#account`. Without a status the account is active.
pub(crate) fn account(seq: u64, did: &str, time: &str, status: Option<&str>) -> Vec<u8> {
    let mut cbor = Header::Usual.write("#account");
    cbor.map(4 + usize::from(status.is_some()));
    cbor.text("did")
        .text(did)
        .text("seq")
        .uint(seq)
        .text("time")
        .text(time);
    cbor.text("active").boolean(status.is_none());
    if let Some(status) = status {
        cbor.text("status").text(status);
    }
    cbor.0
}

/// A `#sync`.
pub(crate) struct Sync<'a> {
    pub(crate) seq: u64,
    pub(crate) did: &'a str,
    pub(crate) rev: &'a str,
    pub(crate) time: &'a str,
    pub(crate) blocks: &'a [u8],
}

impl Sync<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut cbor = Header::Usual.write("#sync");
        cbor.map(5)
            .text("did")
            .text(self.did)
            .text("rev")
            .text(self.rev);
        cbor.text("seq").uint(self.seq).text("time").text(self.time);
        cbor.text("blocks").bytes(self.blocks);
        cbor.0
    }
}

/// An `#info` message, such as `OutdatedCursor`: a notice from the relay about the stream.
pub fn info(name: &str, message: Option<&str>) -> Vec<u8> {
    let mut cbor = Header::Usual.write("#info");
    named_body(&mut cbor, "name", name, message);
    cbor.0
}

/// An error frame, such as `FutureCursor` or `ConsumerTooSlow`. A relay closes the connection after
/// it. `t` is a message type in its header: some relays write one, although the protocol does not
/// define one for error frames.
pub fn error(name: &str, message: Option<&str>, t: Option<&str>) -> Vec<u8> {
    let mut cbor = Cbor::default();
    cbor.map(1 + usize::from(t.is_some()));
    if let Some(t) = t {
        cbor.text("t").text(t);
    }
    cbor.text("op").head(1, 0);
    named_body(&mut cbor, "error", name, message);
    cbor.0
}

/// Appends the body of an `#info` or of an error frame: its name under `key`, and a message.
fn named_body(cbor: &mut Cbor, key: &str, name: &str, message: Option<&str>) {
    cbor.map(1 + usize::from(message.is_some()))
        .text(key)
        .text(name);
    if let Some(message) = message {
        cbor.text("message").text(message);
    }
}
