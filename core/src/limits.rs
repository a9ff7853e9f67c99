//! Limits on the content of records and events. Input that exceeds a limit is skipped or truncated,
//! and counted by reason.
//!
//! The limits that come from the lexicons
//! (<https://github.com/bluesky-social/atproto/tree/main/lexicons>) are applied in bytes, because a
//! limit in graphemes would depend on the version of Unicode. The other limits are our own.
//!
//! Where a list has a limit, its first distinct entries count, in the order in which they are
//! written.

/// Maximum number of languages per post: the lexicon's limit of `langs`.
pub const LANGS_MAX: usize = 3;
/// Maximum size of a language tag in bytes; a longer one is not well-formed. Other implementations
/// of the protocol use the same number
/// (<https://github.com/bluesky-social/indigo/blob/main/atproto/syntax/language.go>).
pub const LANG_BYTES_MAX: usize = 128;

/// Maximum number of distinct entries of a post's `tags`: the lexicon's limit.
pub const TAGS_MAX: usize = 8;
/// Maximum number of distinct tags in the facets of a post, in addition to those in `tags`. The
/// lexicon has no limit.
pub const FACET_TAGS_MAX: usize = 64;
/// Maximum number of distinct links of a post, in its facets and its embed, and of distinct hosts
/// of these links. The lexicon has no limit.
pub const LINKS_MAX: usize = 64;
/// Maximum number of distinct accounts that a post mentions. The lexicon has no limit.
pub const MENTIONS_MAX: usize = 64;

/// Maximum size of a tag in lower case, in bytes: the lexicon's limit. A longer tag is skipped.
pub const TAG_BYTES_MAX: usize = 640;
/// Maximum size of a link, and of its host, in bytes. A longer one is skipped.
pub const KEY_BYTES_MAX: usize = 4_096;

/// Maximum size of an account's display name in bytes: the lexicon's limit. A longer name is
/// truncated.
pub const NAME_BYTES_MAX: usize = 640;
/// Maximum size of an account's description in bytes: the lexicon's limit. A longer description is
/// truncated.
pub const DESCRIPTION_BYTES_MAX: usize = 2_560;
/// Maximum size of a handle in bytes: the protocol's limit (<https://atproto.com/specs/handle>).
pub const HANDLE_BYTES_MAX: usize = 253;
/// Maximum size of a picture's URL in bytes. A picture with a longer URL is not shown.
pub const ADDRESS_BYTES_MAX: usize = 2_048;
/// Maximum size of an account's hosting status in bytes. A longer status is truncated, so it equals
/// no known status.
pub const STATUS_BYTES_MAX: usize = 64;

/// Maximum number of collections with rows of their own in `activity`, in addition to
/// [`KNOWN_COLLECTIONS`]: the first ones in the order of the log. All others are counted together
/// as [`OTHER_COLLECTIONS`].
pub const NAMED_COLLECTIONS_MAX: usize = 500;
/// Collections that always have rows of their own in `activity`: those of Bluesky and of the
/// protocol. Sorted.
pub const KNOWN_COLLECTIONS: &[&str] = &[
    "app.bsky.actor.profile",
    "app.bsky.actor.status",
    "app.bsky.feed.generator",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.postgate",
    "app.bsky.feed.repost",
    "app.bsky.feed.threadgate",
    "app.bsky.graph.block",
    "app.bsky.graph.follow",
    "app.bsky.graph.list",
    "app.bsky.graph.listblock",
    "app.bsky.graph.listitem",
    "app.bsky.graph.starterpack",
    "app.bsky.graph.verification",
    "app.bsky.labeler.service",
    "app.bsky.notification.declaration",
    "chat.bsky.actor.declaration",
    "com.atproto.lexicon.schema",
];
/// The name under which `activity` counts collections without rows of their own. It is not a valid
/// NSID, so no collection has this name.
pub const OTHER_COLLECTIONS: &str = "other";

/// The longest prefix of `text` that has at most `bytes_max` bytes and ends at a character
/// boundary.
pub fn truncated(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Truncates an owned text in place. Returns whether the text was too long.
pub fn truncate(text: &mut Box<str>, bytes_max: usize) -> bool {
    let is_longer = text.len() > bytes_max;
    if is_longer {
        *text = truncated(text, bytes_max).into();
    }
    is_longer
}

/// Deserializers for fields of stored rows. They truncate texts that an older version stored
/// without a limit.
pub(crate) mod stored {
    use serde::{Deserialize, Deserializer};

    macro_rules! fields {
        ($($name:ident: $max:ident;)*) => {
            $(pub(crate) fn $name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<str>>, D::Error> {
                let mut text = Option::<Box<str>>::deserialize(from)?;
                if let Some(text) = &mut text {
                    super::truncate(text, super::$max);
                }
                Ok(text)
            })*
        };
    }

    fields! {
        name: NAME_BYTES_MAX;
        description: DESCRIPTION_BYTES_MAX;
        status: STATUS_BYTES_MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_collections_are_sorted() {
        assert!(KNOWN_COLLECTIONS.is_sorted());
    }

    #[test]
    fn a_text_is_truncated_at_a_character_boundary() {
        assert_eq!(truncated("abc", 3), "abc");
        assert_eq!(truncated("abcd", 3), "abc");
        assert_eq!(truncated("aé", 2), "a");
        assert_eq!(truncated("👩\u{200d}👧", 6), "👩");
        assert_eq!(truncated("é", 1), "");
        let mut text: Box<str> = "aé".into();
        assert!(!truncate(&mut text, 3) && truncate(&mut text, 2));
        assert_eq!(&*text, "a");
    }
}
