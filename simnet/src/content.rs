//! The content of a record as the network intended it. It is never parsed from the record's bytes.

use skytide_core::id::{Did, PostKey};

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A like of a post.
    Like(PostKey),
    /// A repost of a post.
    Repost(PostKey),
    /// A follow of an account.
    Follow(Did),
    /// A block of an account.
    Block(Did),
    /// A post.
    Post(Box<PostContent>),
    /// A profile.
    Profile(Box<ProfileContent>),
    /// A record of which only the existence is counted.
    Other,
    /// The record is missing or cannot be parsed. Its key is live, its content unknown.
    Unknown,
}

/// The content of a post. No list contains duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostContent {
    /// The post that it replies to.
    pub parent: Option<PostKey>,
    /// The first post of that thread.
    pub root: Option<PostKey>,
    /// The post that it quotes.
    pub quote: Option<PostKey>,
    /// The languages, as written in the record.
    pub langs: Vec<String>,
    /// The hashtags, in lower case.
    pub tags: Vec<String>,
    /// The links.
    pub links: Vec<String>,
    /// The hosts of the links.
    pub domains: Vec<String>,
    /// The mentioned accounts.
    pub mentions: Vec<Did>,
    /// The length of the text in Unicode scalar values.
    pub characters: u32,
}

/// The content of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileContent {
    /// The display name.
    pub display_name: String,
    /// The description.
    pub description: String,
    /// The CID of the picture.
    pub avatar: Option<String>,
}
