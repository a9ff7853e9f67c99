//! Reasons for which input is dropped.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why an input was dropped, in whole or in part. Every drop is counted under one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason's label in metrics, rows and reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The message is not binary.
    FrameText = "frame_text",
    /// Header or body is not valid CBOR, is truncated, or is followed by more bytes.
    FrameCbor = "frame_cbor",
    /// A field of header or body is missing or has the wrong type.
    FrameShape = "frame_shape",
    /// `op` is neither 1 nor -1.
    FrameOp = "frame_op",
    /// `t` is an unknown type.
    FrameType = "frame_type",
    /// An error frame of the relay.
    FrameError = "frame_error",
    /// The message is larger than the protocol allows.
    FrameSize = "frame_size",
    /// `time` is missing or malformed, so the frame gets another time. If no other time is known,
    /// the frame is dropped.
    FrameTime = "frame_time",
    /// `seq` is equal to or less than one that was already applied.
    SeqRepeated = "seq_repeated",
    /// The DID is not valid.
    Did = "did",
    /// `rev` is not a TID.
    Rev = "rev",
    /// `rev` is more than 5 minutes ahead of both network time and the time of its own frame.
    RevFuture = "rev_future",
    /// `rev` is not newer than the newest revision of its repo, so the commit was already applied.
    RevRepeated = "rev_repeated",
    /// An `#identity` or `#account` that another relay repeats: the newest one of the account, or one
    /// that was sent before it.
    AnnouncementRepeated = "announcement_repeated",
    /// More blocks or operations than the protocol allows.
    CommitSize = "commit_size",
    /// The commit has operations but no blocks, or is `tooBig` without operations. It cannot be
    /// applied.
    CommitTooBig = "commit_too_big",
    /// The CAR is malformed.
    Car = "car",
    /// The bytes of a block do not match its CID.
    CidMismatch = "cid_mismatch",
    /// The CAR's root is not the commit.
    CommitRoot = "commit_root",
    /// The signed commit is missing, has an unsupported version, or names another repo or revision.
    CommitInner = "commit_inner",
    /// The collection or the record key of an operation is not valid.
    OpPath = "op_path",
    /// The action of an operation is not create, update or delete.
    OpAction = "op_action",
    /// The CID of a create or update is missing or not valid. The record is live with unknown
    /// content.
    OpCid = "op_cid",
    /// The CAR does not contain the block of the record. The record is live with unknown content.
    RecordMissing = "record_missing",
    /// The record is not strict DAG-CBOR as the protocol requires. The record is live with unknown
    /// content.
    RecordCbor = "record_cbor",
    /// The record is not a map. The record is live with unknown content.
    RecordShape = "record_shape",
    /// A tag is longer than 640 bytes, or a link or its host is longer than 4,096 bytes. It is not
    /// counted.
    KeyLength = "key_length",
    /// An entry of a post's list is beyond the limit: 3 languages, 8 tags, and in facets 64 each of
    /// tags, links and mentions. It is not counted.
    ListLimit = "list_limit",
    /// A display name (640 bytes), description (2,560 bytes) or account status (64 bytes) is too
    /// long. It is truncated.
    TextLimit = "text_limit",
    /// A language of a post is not a well-formed BCP 47 tag. It is counted as `und`.
    LangSyntax = "lang_syntax",
    /// The handle of an `#identity` event is `handle.invalid`, empty or not a valid handle. It
    /// identifies no account.
    Handle = "handle",
    /// A delete refers to a record that was never seen.
    DeleteUnknown = "delete_unknown",
    /// The collection is excluded by `FIREHOSE_COLLECTIONS`.
    FilterCollection = "filter_collection",
    /// The account is excluded by `FIREHOSE_DIDS_ALLOW` or `FIREHOSE_DIDS_DENY`.
    FilterDid = "filter_did",
}
