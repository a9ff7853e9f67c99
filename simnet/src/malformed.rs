//! Malformed and unusual input, as the real network sends it. For each kind: what it is, what a
//! correct consumer counts, and how it affects the live records.
//!
//! A frame has at most one kind. Rates are in parts per million of frames, so a test can ask for
//! any mixture. Each affected frame names its kind ([`Frame::malformed`](crate::Frame::malformed))
//! and the counts that a correct consumer must report for it
//! ([`Frame::expected`](crate::Frame::expected)). `docs/simnet.md` repeats the text of
//! [`Kind::note`].
//!
//! The expected counts apply to a consumer that checks every block (`FIREHOSE_VERIFY=blocks`) and
//! reads from the first frame. At level `records`, a consumer does not detect [`Kind::CommitRoot`]
//! and [`Kind::CommitInner`].

use std::fmt;
use std::str::FromStr;

macro_rules! kinds {
    ($($name:ident = $text:literal: $note:literal,)*) => {
        /// A way in which a frame is malformed, or looks malformed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $note] $name,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind's name in options and reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What the kind is, what a correct consumer counts, and how it affects the live
            /// records.
            pub fn note(self) -> &'static str {
                match self {
                    $(Self::$name => $note,)*
                }
            }
        }
    };
}

// The order matters. `Kind::code` numbers the kinds, and `Kind::form` and `Kind::is_unreadable`
// compare them: from `RecordUtf8` on, a kind is of the form `Record`, and such a record cannot be
// parsed if its kind is before `KeyLength` (except `RecordUnsafe`).
kinds! {
    TypeUnknown = "type_unknown":
        "A message of an unknown type. Counts `frame_type`; changes nothing.",
    OpUnknown = "op_unknown": "A header whose `op` is 2. Counts `frame_op`; changes nothing.",
    HeaderGarbage = "header_garbage":
        "Bytes that are not CBOR. Counts `frame_cbor`; changes nothing.",
    HeaderShape = "header_shape": "A header without `op`. Counts `frame_shape`; changes nothing.",
    BodyCut = "body_cut":
        "A commit truncated near the start of its body. Counts `frame_cbor`; changes nothing.",
    BodyShape = "body_shape": "A commit without `repo`. Counts `frame_shape`; changes nothing.",
    TrailingObject = "trailing_object":
        "A third object after the body. Counts `frame_cbor`; changes nothing.",
    InfoOutdated = "info_outdated":
        "`#info` `OutdatedCursor`. Counts `info/OutdatedCursor`; changes nothing.",
    ErrorFrame = "error_frame":
        "An error frame whose header has a `t`. Counts `frame_error` and `error/other`; changes \
         nothing.",
    SeqGap = "seq_gap":
        "Skipped sequence numbers before a well-formed frame. Counts `gaps` and `missing_seqs`; \
         nothing is lost.",
    SeqRepeated = "seq_repeated":
        "The last well-formed frame, sent again. Counts `seq_repeated`; changes nothing.",
    SeqBack = "seq_back":
        "The last well-formed frame but one, sent again. Counts `seq_repeated`; changes nothing.",
    HeaderOrder = "header_order":
        "A header with `op` before `t`, as Go relays write it. Counts nothing; applied.",
    FieldsUnknown = "fields_unknown":
        "Header and body with unknown fields. Counts nothing; applied.",
    DidBad = "did_bad": "A forged commit with an invalid DID. Counts `did`; changes nothing.",
    RevBad = "rev_bad": "A forged commit whose `rev` is not a TID. Counts `rev`; changes nothing.",
    RevFuture = "rev_future":
        "A forged commit whose `rev` is an hour in the future. Counts `rev_future`; changes \
         nothing.",
    RevRepeated = "rev_repeated":
        "A forged commit with the repo's newest `rev`. Counts `rev_repeated`; changes nothing.",
    CommitBytes = "commit_bytes":
        "A forged commit with more than 2,000,000 bytes of blocks. Counts `commit_size`; \
         changes nothing.",
    CommitOps = "commit_ops":
        "A forged commit of 201 operations. Counts `commit_size`; changes nothing.",
    CarBroken = "car_broken":
        "A forged commit with a truncated CAR. Counts `car`; changes nothing.",
    CidMismatch = "cid_mismatch":
        "A forged commit whose record does not match its CID. Counts `cid_mismatch`; changes \
         nothing.",
    CommitRoot = "commit_root":
        "A forged commit whose CAR has another root. Counts `commit_root`; changes nothing.",
    CommitInner = "commit_inner":
        "A forged commit whose commit object has another `rev`. Counts `commit_inner`; changes \
         nothing.",
    TooBig = "too_big":
        "A real commit with `tooBig`, without operations and blocks. Counts `commit_too_big`; its \
         record stays unknown, the repo is out of sync.",
    BlocksAbsent = "blocks_absent":
        "A real commit without `blocks`, which is treated like `tooBig`. Counts `commit_too_big`; \
         its record stays unknown, the repo is out of sync.",
    OpsEmpty = "ops_empty":
        "A real commit without operations. Counts nothing; the repo gets a new `rev`.",
    PathTwice = "path_twice":
        "Delete and create of one path in one commit. Counts `paths_repeated`; the record is \
         replaced.",
    PathGone = "path_gone":
        "Create and delete of one path in one commit; the CAR omits its block. Counts \
         `paths_repeated` and `record_missing`; leaves nothing.",
    RecordMissing = "record_missing":
        "A create whose block is not in the CAR. Counts `record_missing`; the key is live with \
         unknown content.",
    OpPath = "op_path":
        "A second operation with an invalid path. Counts `op_path`; the first one is applied.",
    OpAction = "op_action":
        "A second operation with an unknown action. Counts `op_action`; the first one is applied.",
    OpCid = "op_cid":
        "A second operation, a create without a CID. Counts `op_cid`; its key is live with unknown content.",
    BlocksTwice = "blocks_twice": "Each block twice. Counts nothing; applied.",
    BlocksSpare = "blocks_spare": "An unreferenced block. Counts nothing; applied.",
    TreeBomb = "tree_bomb":
        "A chain of 1,000 nested tree nodes without keys. Counts nothing; applied.",
    SinceOther = "since_other":
        "A commit whose `since` is not the last `rev`. Counts nothing; applied, the repo is out \
         of sync.",
    PrevDataOther = "prev_data_other":
        "A commit whose `prevData` is another tree. Counts nothing; applied (proofs are not \
         checked).",
    DeleteUnknown = "delete_unknown":
        "A delete of a record created before the stream. Counts `delete_unknown`; changes nothing.",
    InactiveCommit = "inactive_commit":
        "A commit of an inactive account. Counts nothing; applied, but hidden.",
    SyncMoved = "sync_moved":
        "`#sync` to a `rev` without a commit. Counts nothing; the repo is out of sync.",
    RecordUtf8 = "record_utf8":
        "A text that is not UTF-8. Counts `record_cbor`; live with unknown content.",
    RecordFloat = "record_float": "A float. Counts `record_cbor`; live with unknown content.",
    RecordInteger = "record_integer":
        "An integer above 64 bits signed. Counts `record_cbor`; live with unknown content.",
    RecordUnsafe = "record_unsafe": "An integer above 53 bits. Counts nothing; applied.",
    RecordDeep = "record_deep":
        "Lists nested 3,000 deep. Counts `record_cbor`; live with unknown content.",
    RecordLength = "record_length":
        "A text with a declared length of 2^62 bytes. Counts `record_cbor`; live with unknown \
         content.",
    RecordIndefinite = "record_indefinite":
        "A list of indefinite length. Counts `record_cbor`; live with unknown content.",
    RecordKeyTwice = "record_key_twice":
        "A duplicate map key. Counts `record_cbor`; live with unknown content.",
    RecordKeyOrder = "record_key_order":
        "Unsorted map keys. Counts `record_cbor`; live with unknown content.",
    RecordTag = "record_tag":
        "A tag other than 42. Counts `record_cbor`; live with unknown content.",
    RecordCid = "record_cid":
        "A link of CID version 0. Counts `record_cbor`; live with unknown content.",
    RecordTrailing = "record_trailing":
        "Bytes after the record. Counts `record_cbor`; live with unknown content.",
    RecordList = "record_list":
        "A record that is a list. Counts `record_shape`; live with unknown content.",
    KeyLength = "key_length":
        "A post with a hashtag of 5,000 bytes. Counts `key_length`; the tag is dropped.",
    CreatedFuture = "created_future": "`createdAt` in the year 9999. Counts nothing; applied.",
    CreatedOne = "created_one": "`createdAt` in the year 1. Counts nothing; applied.",
    CreatedEmpty = "created_empty": "An empty `createdAt`. Counts nothing; applied.",
    CreatedAbsent = "created_absent": "No `createdAt`. Counts nothing; applied.",
    CreatedDigits = "created_digits":
        "`createdAt` with seven fractional digits. Counts nothing; applied.",
    CreatedOffset = "created_offset": "`createdAt` with a UTC offset. Counts nothing; applied.",
    CreatedNoDay = "created_no_day": "`createdAt` on 30 February. Counts nothing; applied.",
}

/// How a frame of a kind is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameForm {
    /// A message that changes no record and has no sequence number of its own.
    Unnumbered,
    /// A message that changes no record and has a sequence number.
    Numbered,
    /// An earlier message, sent again.
    Repeated,
    /// A commit that its account never made. A correct consumer drops it.
    Forged,
    /// A commit of one record that its account made.
    Real,
    /// A commit of one record whose bytes are malformed.
    Record,
}

impl Kind {
    pub(crate) fn form(self) -> FrameForm {
        use Kind::*;
        match self {
            OpUnknown | HeaderGarbage | HeaderShape | BodyCut | InfoOutdated | ErrorFrame => {
                FrameForm::Unnumbered
            }
            TypeUnknown | BodyShape | TrailingObject => FrameForm::Numbered,
            SeqRepeated | SeqBack => FrameForm::Repeated,
            DidBad | RevBad | RevFuture | RevRepeated | CommitBytes | CommitOps | CarBroken
            | CidMismatch | CommitRoot | CommitInner => FrameForm::Forged,
            _ if self < RecordUtf8 => FrameForm::Real,
            _ => FrameForm::Record,
        }
    }

    /// Whether a frame of this kind has a sequence number of its own.
    pub(crate) fn is_numbered(self) -> bool {
        !matches!(self.form(), FrameForm::Unnumbered | FrameForm::Repeated)
    }

    /// Whether this kind is a record that cannot be parsed.
    pub(crate) fn is_unreadable(self) -> bool {
        self.form() == FrameForm::Record && self < Self::KeyLength && self != Self::RecordUnsafe
    }

    /// The kind as a number from 1; 0 means no kind.
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

/// How often each kind occurs, in frames per million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates([u32; Kind::ALL.len()]);

/// Why a text cannot be parsed as rates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// No kind has this name.
    #[error("there is no kind {0:?} of malformed input; docs/simnet.md lists the kinds")]
    Kind(String),
    /// The rate is not a number of parts per million.
    #[error("the rate {0:?} is not in 0..=1000000 (parts per million)")]
    Rate(String),
    /// The sum of all rates is above one million.
    #[error("the sum of the rates is {0}, above 1000000 parts per million")]
    Sum(u64),
}

impl Rates {
    /// No malformed frames.
    pub const fn none() -> Self {
        Self([0; Kind::ALL.len()])
    }

    /// The same rate for every kind.
    pub fn all(per_million: u32) -> Self {
        Self([per_million; Kind::ALL.len()])
    }

    /// The same rates, with another rate for one kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, per_million: u32) -> Self {
        self.0[kind as usize] = per_million;
        self
    }

    /// The rate of a kind.
    pub fn of(&self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    /// The kind selected by a random number below one million; `None` for a frame that is not
    /// malformed.
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

    /// Parses `RATE` (for every kind) and `kind=RATE`, separated by commas. Later parts override
    /// earlier ones.
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
    fn rates_are_parsed_from_a_text() {
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
