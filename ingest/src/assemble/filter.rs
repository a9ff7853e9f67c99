//! Selects the collections and accounts that are read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use skytide_core::config::CollectionFilter;
use skytide_core::id::Did;

use crate::Options;

/// The collections and accounts that are read. The default selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The collections that are read; if empty, all are.
    collections: Vec<CollectionFilter>,
    /// The accounts that are read; `None` for all.
    allow: Option<BTreeSet<Did>>,
    /// The accounts that are not read, even if `allow` contains them.
    deny: BTreeSet<Did>,
}

/// Why a filter could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The file of accounts could not be read.
    #[error("could not read the list of accounts {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A line of the file of accounts is not a DID.
    #[error("line {line} of {} is not a DID: write one DID per line", path.display())]
    Did {
        /// The file.
        path: PathBuf,
        /// The number of the line; the first is 1.
        line: usize,
        /// The cause.
        #[source]
        source: skytide_core::id::IdError,
    },
}

impl Filter {
    /// Builds the filter that the options describe. Reads the files of accounts that they name.
    ///
    /// # Errors
    /// A file cannot be read, or has a line that is not a DID.
    pub fn load(options: &Options) -> Result<Self, FilterError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read_dids).transpose();
        let mut collections = options.collections.clone();
        if collections.contains(&CollectionFilter::All) {
            collections.clear();
        }
        Ok(Self {
            collections,
            allow: read(&options.dids_allow)?,
            deny: read(&options.dids_deny)?.unwrap_or_default(),
        })
    }

    /// Whether all collections are read.
    pub fn reads_all_collections(&self) -> bool {
        self.collections.is_empty()
    }

    /// Whether this collection is read.
    pub fn reads_collection(&self, name: &str) -> bool {
        self.collections.is_empty() || self.collections.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether this account is read.
    pub fn reads_account(&self, did: &Did) -> bool {
        !self.deny.contains(did) && self.allow.as_ref().is_none_or(|allow| allow.contains(did))
    }
}

/// Reads a file with one DID per line. `#` starts a comment.
fn read_dids(path: &Path) -> Result<BTreeSet<Did>, FilterError> {
    let text = fs::read_to_string(path).map_err(|source| FilterError::Read {
        path: path.to_owned(),
        source,
    })?;
    // Some editors write a byte order mark at the start of a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().enumerate().filter_map(|(i, line)| {
        let did = line.split('#').next().unwrap_or_default().trim();
        (!did.is_empty()).then_some((i + 1, did))
    });
    lines
        .map(|(line, did)| {
            did.parse().map_err(|source| FilterError::Did {
                path: path.to_owned(),
                line,
                source,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(collections: &[&str]) -> Options {
        Options {
            collections: collections
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            ..crate::testing::options()
        }
    }

    fn filter_of(collections: &[&str]) -> Result<Filter, FilterError> {
        Filter::load(&options(collections))
    }

    #[test]
    fn a_wildcard_matches_only_collections_below_it() {
        let filter = filter_of(&["app.bsky.feed.*", "app.bsky.graph.follow"]).unwrap();
        for (name, read) in [
            ("app.bsky.feed.like", true),
            ("app.bsky.feed.post", true),
            ("app.bsky.feedback.post", false),
            ("app.bsky.graph.follow", true),
            ("app.bsky.graph.followed", false),
            ("app.bsky.graph.block", false),
        ] {
            assert_eq!(filter.reads_collection(name), read, "{name}");
        }
        assert!(!filter.reads_all_collections());
        assert!(
            filter_of(&[])
                .unwrap()
                .reads_collection("com.example.anything")
        );
        assert!(
            filter_of(&["*"])
                .unwrap()
                .reads_collection("com.example.anything")
        );
    }

    #[test]
    fn the_deny_file_has_priority_and_an_invalid_line_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let filter = Filter::load(&Options {
            dids_allow: file(
                "allow",
                "\u{feff}# ours\ndid:plc:a\n\n did:web:b.example # why\n",
            ),
            dids_deny: file("deny", "\u{feff}did:plc:a\r\n"),
            ..options(&[])
        })
        .unwrap();
        let reads = |did: &str| filter.reads_account(&did.parse().unwrap());
        assert!(reads("did:web:b.example"));
        assert!(!reads("did:plc:a") && !reads("did:plc:c"));
        let error = Filter::load(&Options {
            dids_deny: file("bad", "did:plc:a\nplc:a\n"),
            ..options(&[])
        });
        assert!(error.unwrap_err().to_string().starts_with("line 2 of "));
    }
}
