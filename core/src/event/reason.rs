//! Why an input was dropped.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why an input was dropped, in whole or in part. Every drop is counted under one of these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The label in metrics, rows and reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The message is no binary message.
    FrameText = "frame_text",
    /// Header or body is not CBOR, is cut short, or more follows.
    FrameCbor = "frame_cbor",
    /// Header or body lacks a field or has one of another type.
    FrameShape = "frame_shape",
    /// `op` is neither 1 nor -1.
    FrameOp = "frame_op",
    /// `t` is a type we do not know.
    FrameType = "frame_type",
    /// An error frame of the relay.
    FrameError = "frame_error",
    /// The message is larger than the protocol allows.
    FrameSize = "frame_size",
    /// `time` is missing or not readable: another time is used for the frame. Where there is none, it is dropped.
    FrameTime = "frame_time",
    /// `seq` was repeated or went back: already applied.
    SeqRepeated = "seq_repeated",
    /// The DID is not valid.
    Did = "did",
    /// `rev` is not a TID.
    Rev = "rev",
    /// `rev` lies more than 5 minutes ahead of network time, and of the time of its own frame.
    RevFuture = "rev_future",
    /// `rev` is not newer than the newest of its repo: already applied.
    RevRepeated = "rev_repeated",
    /// More blocks or operations than the protocol allows.
    CommitSize = "commit_size",
    /// Operations without any blocks, or `tooBig` without operations: they cannot be applied.
    CommitTooBig = "commit_too_big",
    /// The CAR is not readable.
    Car = "car",
    /// The bytes of a block do not match its CID.
    CidMismatch = "cid_mismatch",
    /// The CAR's root is not the commit.
    CommitRoot = "commit_root",
    /// The signed commit is missing, of another version, or names another repo or revision.
    CommitInner = "commit_inner",
    /// The collection or the record key of an operation is not valid.
    OpPath = "op_path",
    /// The action of an operation is none of create, update, delete.
    OpAction = "op_action",
    /// The CID of a create or update is missing or not valid: its key is live with unknown content.
    OpCid = "op_cid",
    /// The block of a record is not in the CAR: its key is live with unknown content.
    RecordMissing = "record_missing",
    /// The record is not strict DAG-CBOR as the protocol narrows it: its key is live with unknown content.
    RecordCbor = "record_cbor",
    /// The record is not a map: its key is live with unknown content.
    RecordShape = "record_shape",
    /// A tag is longer than 640 bytes, or a link or its host than 4,096 bytes: it is not counted.
    KeyLength = "key_length",
    /// An entry of a post's list after the first ones (3 languages; 8 tags; of facets 64 tags, links and mentions): it is
    /// not counted.
    ListLimit = "list_limit",
    /// A display name (640 bytes), description (2,560) or account status (64) that is too long: truncated.
    TextLimit = "text_limit",
    /// A language of a post that is not a well-formed BCP 47 tag: counted as `und`.
    LangSyntax = "lang_syntax",
    /// The handle of an `#identity` is `handle.invalid`, empty or no handle: it identifies nobody.
    Handle = "handle",
    /// A delete of a record that was never seen.
    DeleteUnknown = "delete_unknown",
    /// The collection is not read (`FIREHOSE_COLLECTIONS`).
    FilterCollection = "filter_collection",
    /// The account is not read (`FIREHOSE_DIDS_ALLOW`, `FIREHOSE_DIDS_DENY`).
    FilterDid = "filter_did",
}
