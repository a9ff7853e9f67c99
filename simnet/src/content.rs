//! What a record says, as it was meant: never read from its bytes.

use skytide_core::id::{Did, PostKey};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Likes a post.
    Like(PostKey),
    /// Reposts a post.
    Repost(PostKey),
    /// Follows an account.
    Follow(Did),
    /// Blocks an account.
    Block(Did),
    /// A post.
    Post(Box<PostContent>),
    /// What an account says about itself.
    Profile(Box<ProfileContent>),
    /// Nothing that is counted beyond its being there.
    Other,
    /// The record is not there, or nobody can read it: its key is live with unknown content.
    Unknown,
}

/// What a post says. Lists have no repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostContent {
    /// What it answers.
    pub parent: Option<PostKey>,
    /// Where that thread began.
    pub root: Option<PostKey>,
    /// What it quotes.
    pub quote: Option<PostKey>,
    /// Its languages as written.
    pub langs: Vec<String>,
    /// Its hashtags in lower case.
    pub tags: Vec<String>,
    /// Its links.
    pub links: Vec<String>,
    /// The hosts of its links.
    pub domains: Vec<String>,
    /// Whom it mentions.
    pub mentions: Vec<Did>,
    /// Unicode scalar values of its text.
    pub characters: u32,
}

/// What an account says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileContent {
    /// The name to show.
    pub display_name: String,
    /// The text below it.
    pub description: String,
    /// The picture's CID.
    pub avatar: Option<String>,
}
