//! Counts of everything that posts can hold: hashtags, domains, links, mentions, languages.

use serde::{Deserialize, Serialize};

use super::key::ViewKey;
use super::{RowError, Window};

/// A tag, domain, link, mentioned DID or language, overall or among the posts of one language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrendKey {
    /// What the posts hold.
    pub key: Box<str>,
    /// Of posts in this language (as in [`ListKey`](super::ListKey)); empty: of all. Always empty in `languages`.
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

/// Posts and their distinct authors, by window in the order of [`Window::ALL`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TrendRow {
    /// Posts; a post counts once.
    pub counts: [u32; 4],
    /// Distinct authors of these posts.
    pub authors: [u32; 4],
}

impl TrendRow {
    /// Posts in a window.
    pub fn count(&self, window: Window) -> u32 {
        self.counts[window as usize]
    }
}
