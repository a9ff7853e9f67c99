//! Counters of the entities in posts: hashtags, domains, links, mentions and languages.

use serde::{Deserialize, Serialize};

use super::key::ViewKey;
use super::{RowError, Window};

/// A tag, domain, link, mentioned DID or language, in posts of all languages or of one language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrendKey {
    /// The tag, domain, link, DID or language.
    pub key: Box<str>,
    /// The language of the counted posts (values as in [`ListKey`](super::ListKey)); empty for
    /// posts of all languages. Always empty in `languages`.
    pub lang: Box<str>,
}

impl ViewKey for TrendKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.key.to_string().encode(bytes);
        self.lang.to_string().encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        Ok(Self {
            key: String::decode(bytes)?.into(),
            lang: String::decode(bytes)?.into(),
        })
    }
}

/// Numbers of posts and of their distinct authors, by window in the order of [`Window::ALL`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TrendRow {
    /// Posts. A post counts once, however often it contains the key.
    pub counts: [u32; 4],
    /// Distinct authors of these posts.
    pub authors: [u32; 4],
}

impl TrendRow {
    /// Number of posts in a window.
    pub fn count(&self, window: Window) -> u32 {
        self.counts[window as usize]
    }
}
