//! What the pipeline waits for: the cause in one word, and a sentence with numbers.
//!
//! The words are a closed set, so programs and alerts can rely on them. `docs/health.md` describes
//! each of them with its remedy.

use super::explanation::Explanation;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What the pipeline waits for. If several parts wait, `docs/health.md` says which of them
        /// is reported: a word may stand for several causes, so the order here says nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WaitWord {
            $($(#[$doc])* $name,)*
        }

        impl WaitWord {
            /// All words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in answers, metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

words! {
    /// This machine's clock is wrong, so reading has stopped.
    Clock = "clock",
    /// Other processes of the cluster are not connected.
    Cluster = "cluster",
    /// The process has reached its memory limit.
    Memory = "memory",
    /// The view store does not answer, fails, or takes long to commit.
    Store = "store",
    /// Checkpoints fail or are late.
    Checkpoint = "checkpoint",
    /// The log does not answer, or is full for no other reason.
    Log = "log",
    /// After a start: the state is being restored and the log replayed.
    Recovery = "recovery",
    /// The workers of the dataflow are behind the log.
    Workers = "workers",
    /// The process that computes the views commits nothing. This process knows no more.
    Indexer = "indexer",
    /// The process that reads the relay writes nothing. This process knows no more.
    Ingest = "ingest",
    /// The relay is silent, unreachable or cannot be read.
    Relay = "relay",
    /// Nothing: every part keeps up.
    Nothing = "nothing",
}

/// What the pipeline waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The cause.
    pub word: WaitWord,
    /// A sentence with numbers.
    pub sentence: Explanation,
}

impl Wait {
    /// The pipeline waits for `word`, as the sentence explains.
    pub fn new(word: WaitWord, sentence: Explanation) -> Self {
        Self { word, sentence }
    }

    /// The pipeline waits for nothing.
    pub fn nothing() -> Self {
        Self::new(WaitWord::Nothing, Explanation::new("every part keeps up"))
    }
}
