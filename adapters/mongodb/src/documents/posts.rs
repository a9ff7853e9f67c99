//! Documents of `posts`.

use serde::{Deserialize, Serialize};
use skytide_core::id::PostKey;
use skytide_core::view::{PostRow, PostState};

use super::{Count, RowDocument};

/// The tallies of a post.
#[derive(Debug, Serialize, Deserialize)]
pub struct PostDocument {
    uri: String,
    likes: Count,
    reposts: Count,
    replies: Count,
    root_replies: Count,
    quotes: Count,
    self_likes: Count,
    self_reposts: Count,
    self_replies: Count,
    self_root_replies: Count,
    self_quotes: Count,
    /// `never_seen`, `live` or `gone`.
    state: PostState,
}

impl RowDocument for PostDocument {
    type Key = PostKey;
    type Row = PostRow;

    fn from_row(key: PostKey, row: PostRow) -> Option<Self> {
        Some(Self {
            uri: key.to_string(),
            likes: row.likes.into(),
            reposts: row.reposts.into(),
            replies: row.replies.into(),
            root_replies: row.root_replies.into(),
            quotes: row.quotes.into(),
            self_likes: row.self_likes.into(),
            self_reposts: row.self_reposts.into(),
            self_replies: row.self_replies.into(),
            self_root_replies: row.self_root_replies.into(),
            self_quotes: row.self_quotes.into(),
            state: row.state,
        })
    }

    fn into_row(self) -> Option<PostRow> {
        Some(PostRow {
            likes: self.likes.to_u32()?,
            reposts: self.reposts.to_u32()?,
            replies: self.replies.to_u32()?,
            root_replies: self.root_replies.to_u32()?,
            quotes: self.quotes.to_u32()?,
            self_likes: self.self_likes.to_u32()?,
            self_reposts: self.self_reposts.to_u32()?,
            self_replies: self.self_replies.to_u32()?,
            self_root_replies: self.self_root_replies.to_u32()?,
            self_quotes: self.self_quotes.to_u32()?,
            state: self.state,
        })
    }
}
