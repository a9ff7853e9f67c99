//! Bad input, as the network really sends it: what it is, what a correct consumer counts, what it does to the live set.
//!
//! One kind spoils one frame. Rates are in parts per million of frames, so that any mixture can be asked for, and each
//! spoiled frame says what it is ([`Frame::bad`](crate::Frame::bad)) and what must be counted for it
//! ([`Frame::expected`](crate::Frame::expected)). The words of [`Kind::note`] stand in `docs/simnet.md`, too.
//!
//! What a consumer counts is meant for one that checks every block (`FIREHOSE_VERIFY=blocks`) and reads from the first
//! frame on. At level `records`, [`Kind::CommitRoot`] and [`Kind::CommitInner`] are not found out.

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($name:ident = $text:literal: $note:literal,)*) => {
        /// A way in which a frame can be bad, or look so.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $note] $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in options and reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it is, what a correct consumer counts, and what becomes of the live set.
            pub fn note(self) -> &'static str {
                match self {
                    $(Self::$name => $note,)*
                }
            }
        }
    };
}

kinds! {
    TypeUnknown = "type_unknown": "A message of a type that nobody knows. Counts `frame_type`; changes nothing.",
    OpUnknown = "op_unknown": "A header whose `op` is 2. Counts `frame_op`; changes nothing.",
    HeaderGarbage = "header_garbage": "Bytes that are no CBOR. Counts `frame_cbor`; changes nothing.",
    HeaderShape = "header_shape": "A header without `op`. Counts `frame_shape`; changes nothing.",
    BodyCut = "body_cut": "A commit that breaks off at once. Counts `frame_cbor`; changes nothing.",
    BodyShape = "body_shape": "A commit that names no repo. Counts `frame_shape`; changes nothing.",
    TrailingObject = "trailing_object": "A third object behind the body. Counts `frame_cbor`; changes nothing.",
    InfoOutdated = "info_outdated": "`#info` `OutdatedCursor`. Counts `info/OutdatedCursor`; changes nothing.",
    ErrorFrame = "error_frame":
        "An error frame whose header has a `t` all the same. Counts `frame_error` and `error/other`; changes nothing.",
    SeqGap = "seq_gap": "Numbers are left out before a good frame. Counts `gaps` and `missing_seqs`; nothing is lost.",
    SeqRepeated = "seq_repeated": "The last good frame once more. Counts `seq_repeated`; changes nothing.",
    SeqBack = "seq_back": "The good frame before the last one once more. Counts `seq_repeated`; changes nothing.",
    HeaderOrder = "header_order": "A header with `op` before `t`, as Go relays write it. Counts nothing; applied.",
    FieldsUnknown = "fields_unknown": "Header and body with fields that nobody knows. Counts nothing; applied.",
    DidBad = "did_bad": "A forged commit of no valid DID. Counts `did`; changes nothing.",
    RevBad = "rev_bad": "A forged commit whose `rev` is no TID. Counts `rev`; changes nothing.",
    RevFuture = "rev_future": "A forged commit from an hour ahead. Counts `rev_future`; changes nothing.",
    RevRepeated = "rev_repeated": "A forged commit of the repo's newest `rev`. Counts `rev_repeated`; changes nothing.",
    CommitBytes = "commit_bytes": "A forged commit with 2,000,001 bytes of blocks. Counts `commit_size`; changes nothing.",
    CommitOps = "commit_ops": "A forged commit of 201 operations. Counts `commit_size`; changes nothing.",
    CarBroken = "car_broken": "A forged commit whose CAR breaks off. Counts `car`; changes nothing.",
    CidMismatch = "cid_mismatch":
        "A forged commit whose record is not what its CID says. Counts `cid_mismatch`; changes nothing.",
    CommitRoot = "commit_root": "A forged commit whose CAR has another root. Counts `commit_root`; changes nothing.",
    CommitInner = "commit_inner":
        "A forged commit that is signed for another `rev`. Counts `commit_inner`; changes nothing.",
    TooBig = "too_big":
        "A real commit sent as `tooBig`. Counts `commit_too_big`; its record stays unknown, the repo is out of sync.",
    BlocksAbsent = "blocks_absent":
        "A real commit without its blocks. Counts `commit_too_big`; its record stays unknown, the repo is out of sync.",
    OpsEmpty = "ops_empty": "A real commit without operations. Counts nothing; the repo's `rev` moves on.",
    PathTwice = "path_twice":
        "Delete and create of one path in one commit. Counts `paths_repeated`; the record is a new one.",
    PathGone = "path_gone":
        "Create and delete of one path in one commit, its block in no CAR. \
         Counts `paths_repeated` and `record_missing`; leaves nothing.",
    RecordMissing = "record_missing":
        "A create whose block is not in the CAR. Counts `record_missing`; the key is live with unknown content.",
    OpPath = "op_path": "A second operation on a path that none can have. Counts `op_path`; the first one is applied.",
    OpAction = "op_action": "A second operation of unknown action. Counts `op_action`; the first one is applied.",
    OpCid = "op_cid": "A second operation, a create without a CID. Counts `op_cid`; its key is live with unknown content.",
    BlocksTwice = "blocks_twice": "Each block twice. Counts nothing; applied.",
    BlocksSpare = "blocks_spare": "A block that nothing refers to. Counts nothing; applied.",
    TreeBomb = "tree_bomb": "A thousand nodes of a tree below each other, without keys. Counts nothing; applied.",
    SinceOther = "since_other":
        "A commit that follows on another one than the last. Counts nothing; applied, the repo is out of sync.",
    PrevDataOther = "prev_data_other":
        "A commit whose `prevData` is another tree. Counts nothing; applied (proofs are not checked).",
    DeleteUnknown = "delete_unknown":
        "A delete of a record from before the stream. Counts `delete_unknown`; changes nothing.",
    InactiveCommit = "inactive_commit": "A commit of an account that is not active. Counts nothing; applied, but hidden.",
    SyncMoved = "sync_moved": "`#sync` to a `rev` that no commit had. Counts nothing; the repo is out of sync.",
    RecordUtf8 = "record_utf8": "A text that is not UTF-8. Counts `record_cbor`; live with unknown content.",
    RecordFloat = "record_float": "A float. Counts `record_cbor`; live with unknown content.",
    RecordInteger = "record_integer": "An integer beyond 64 bits signed. Counts `record_cbor`; live with unknown content.",
    RecordUnsafe = "record_unsafe": "An integer beyond 53 bits. Counts nothing; applied.",
    RecordDeep = "record_deep": "Lists 3,000 deep. Counts `record_cbor`; live with unknown content.",
    RecordLength = "record_length":
        "A text that claims to be 2^62 bytes long. Counts `record_cbor`; live with unknown content.",
    RecordIndefinite = "record_indefinite": "A list of no definite length. Counts `record_cbor`; live with unknown content.",
    RecordKeyTwice = "record_key_twice": "A key twice. Counts `record_cbor`; live with unknown content.",
    RecordKeyOrder = "record_key_order": "Keys in no order. Counts `record_cbor`; live with unknown content.",
    RecordTag = "record_tag": "A tag that is not 42. Counts `record_cbor`; live with unknown content.",
    RecordCid = "record_cid": "A link of another hash. Counts `record_cbor`; live with unknown content.",
    RecordTrailing = "record_trailing": "Something behind the record. Counts `record_cbor`; live with unknown content.",
    RecordList = "record_list": "A record that is a list. Counts `record_shape`; live with unknown content.",
    KeyLength = "key_length": "A post with a hashtag of 5,000 bytes. Counts `key_length`; the tag is left out.",
    CreatedFuture = "created_future": "`createdAt` in the year 9999. Counts nothing; applied.",
    CreatedOne = "created_one": "`createdAt` in the year 1. Counts nothing; applied.",
    CreatedEmpty = "created_empty": "An empty `createdAt`. Counts nothing; applied.",
    CreatedAbsent = "created_absent": "No `createdAt`. Counts nothing; applied.",
    CreatedDigits = "created_digits": "`createdAt` with 7 digits of a second. Counts nothing; applied.",
    CreatedOffset = "created_offset": "`createdAt` with an offset. Counts nothing; applied.",
    CreatedNoDay = "created_no_day": "`createdAt` on 30 February. Counts nothing; applied.",
}

/// What becomes of a frame of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A message that says nothing and has no number.
    Unnumbered,
    /// A message that says nothing and has a number.
    Numbered,
    /// A message of before, sent again.
    Again,
    /// A commit that its account never made.
    Forged,
    /// A commit of one record that its account made.
    Real,
    /// A commit of one record whose bytes are bad.
    Record,
}

impl Kind {
    pub(crate) fn form(self) -> Form {
        use Kind::*;
        match self {
            OpUnknown | HeaderGarbage | HeaderShape | BodyCut | InfoOutdated | ErrorFrame => {
                Form::Unnumbered
            }
            TypeUnknown | BodyShape | TrailingObject => Form::Numbered,
            SeqRepeated | SeqBack => Form::Again,
            DidBad | RevBad | RevFuture | RevRepeated | CommitBytes | CommitOps | CarBroken
            | CidMismatch | CommitRoot | CommitInner => Form::Forged,
            _ if self < RecordUtf8 => Form::Real,
            _ => Form::Record,
        }
    }

    /// Whether a frame of this kind has a number of its own.
    pub(crate) fn is_numbered(self) -> bool {
        !matches!(self.form(), Form::Unnumbered | Form::Again)
    }

    /// Whether a record with this fault cannot be read.
    pub(crate) fn is_unreadable(self) -> bool {
        self.form() == Form::Record && self < Self::KeyLength && self != Self::RecordUnsafe
    }

    /// Its number, from 1; 0 stands for none.
    pub(crate) fn code(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often each kind occurs: in so many of a million frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates([u32; Kind::ALL.len()]);

/// Why a text says nothing about rates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// No kind has this name.
    #[error("{0:?} is no kind of bad input")]
    Kind(String),
    /// A rate is not a number of parts per million.
    #[error("{0:?} is not in 0..=1000000")]
    Rate(String),
    /// All rates together are more than all frames.
    #[error("the rates add up to {0}, more than 1000000")]
    Sum(u64),
}

impl Rates {
    /// Nothing is bad.
    pub const fn none() -> Self {
        Self([0; Kind::ALL.len()])
    }

    /// Every kind equally often.
    pub fn all(per_million: u32) -> Self {
        Self([per_million; Kind::ALL.len()])
    }

    /// The same with another rate of one kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, per_million: u32) -> Self {
        self.0[kind as usize] = per_million;
        self
    }

    /// The rate of a kind.
    pub fn of(&self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    /// The kind that a draw below a million stands for.
    pub(crate) fn kind(&self, mut draw: u32) -> Option<Kind> {
        for (&kind, &rate) in Kind::ALL.iter().zip(&self.0) {
            if draw < rate {
                return Some(kind);
            }
            draw -= rate;
        }
        None
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.iter().all(|&rate| rate == 0)
    }
}

impl FromStr for Rates {
    type Err = RatesError;

    /// Reads `RATE` (for every kind) and `kind=RATE`, divided by commas; later ones win.
    fn from_str(text: &str) -> Result<Self, RatesError> {
        let rate = |text: &str| {
            let rate = text.trim().parse().ok().filter(|&rate| rate <= 1_000_000);
            rate.ok_or_else(|| RatesError::Rate(text.to_owned()))
        };
        let mut rates = Self::none();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None => rates = Self::all(rate(part)?),
                Some((name, value)) => {
                    let found = Kind::ALL.iter().find(|kind| kind.as_str() == name.trim());
                    let kind = *found.ok_or_else(|| RatesError::Kind(name.trim().to_owned()))?;
                    rates = rates.with(kind, rate(value)?);
                }
            }
        }
        let sum = rates.0.iter().map(|&rate| u64::from(rate)).sum();
        if sum > 1_000_000 {
            return Err(RatesError::Sum(sum));
        }
        Ok(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_a_user_writes_them() {
        let rates: Rates = "10, seq_gap=500,record_deep=0".parse().unwrap();
        assert_eq!(
            rates,
            Rates::all(10)
                .with(Kind::SeqGap, 500)
                .with(Kind::RecordDeep, 0)
        );
        assert_eq!("".parse(), Ok(Rates::none()));
        let refused = ["x", "-1", "seq_gap=2000000", "nothing=1", "900000"];
        for text in refused {
            assert!(text.parse::<Rates>().is_err(), "{text}");
        }
        for (number, &kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert_eq!(Kind::of_code(kind.code()), Some(kind));
        }
    }
}
