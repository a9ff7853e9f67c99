//! Documents of `actors`, `interactions`, `accounts` and `handles`.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, ActorRow, HandleKey, HandleRow, InteractionKey, InteractionRow,
};

use super::{Count, RowDocument};
use crate::values::{date, timestamp};

const DAY_MS: i64 = 86_400_000;

/// A row of `actors`: the counts of an account.
#[derive(Debug, Serialize, Deserialize)]
pub struct ActorDocument {
    did: String,
    /// Distinct accounts that follow the account.
    followers: Count,
    /// Follow records of which the account is the subject.
    follow_records: Count,
    /// Follow records of the account.
    follows: Count,
    /// Distinct accounts that block the account.
    blockers: Count,
    /// Block records of which the account is the subject.
    block_records: Count,
    /// Block records of the account.
    blocks: Count,
    posts: Count,
    likes_given: Count,
    likes_received: Count,
    reposts_given: Count,
    reposts_received: Count,
    /// `null` if the account was never seen.
    last_seen: Option<DateTime>,
}

impl RowDocument for ActorDocument {
    type Key = Did;
    type Row = ActorRow;

    fn from_row(key: Did, row: ActorRow) -> Option<Self> {
        Some(Self {
            did: key.to_string(),
            followers: row.followers.into(),
            follow_records: row.follow_records.into(),
            follows: row.follows.into(),
            blockers: row.blockers.into(),
            block_records: row.block_records.into(),
            blocks: row.blocks.into(),
            posts: row.posts.into(),
            likes_given: row.likes_given.into(),
            likes_received: row.likes_received.into(),
            reposts_given: row.reposts_given.into(),
            reposts_received: row.reposts_received.into(),
            last_seen: match row.last_seen {
                Timestamp(0) => None,
                time => Some(date(time)?),
            },
        })
    }

    fn into_row(self) -> Option<ActorRow> {
        Some(ActorRow {
            followers: self.followers.to_u32()?,
            follow_records: self.follow_records.to_u32()?,
            follows: self.follows.to_u32()?,
            blockers: self.blockers.to_u32()?,
            block_records: self.block_records.to_u32()?,
            blocks: self.blocks.to_u32()?,
            posts: self.posts.to_u32()?,
            likes_given: self.likes_given.to_u32()?,
            likes_received: self.likes_received.to_u32()?,
            reposts_given: self.reposts_given.to_u32()?,
            reposts_received: self.reposts_received.to_u32()?,
            last_seen: self.last_seen.map_or(Some(Timestamp(0)), timestamp)?,
        })
    }
}

/// A row of `interactions`: those of one account with another on one day.
#[derive(Debug, Serialize, Deserialize)]
pub struct InteractionDocument {
    author: String,
    /// The start of the day, UTC.
    day: DateTime,
    subject: String,
    likes: Count,
    reposts: Count,
    replies: Count,
    quotes: Count,
    /// Unicode scalar values in the texts of these replies and quotes.
    characters: Count,
}

impl RowDocument for InteractionDocument {
    type Key = InteractionKey;
    type Row = InteractionRow;

    fn from_row(key: InteractionKey, row: InteractionRow) -> Option<Self> {
        Some(Self {
            author: key.author.to_string(),
            day: DateTime::from_millis(i64::from(key.day) * DAY_MS),
            subject: key.subject.to_string(),
            likes: row.likes.into(),
            reposts: row.reposts.into(),
            replies: row.replies.into(),
            quotes: row.quotes.into(),
            characters: row.characters.into(),
        })
    }

    fn into_row(self) -> Option<InteractionRow> {
        Some(InteractionRow {
            likes: self.likes.to_u32()?,
            reposts: self.reposts.to_u32()?,
            replies: self.replies.to_u32()?,
            quotes: self.quotes.to_u32()?,
            characters: self.characters.0,
        })
    }
}

/// A row of `accounts`: the known properties of an account. `null` means unknown.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountDocument {
    did: String,
    handle: Option<String>,
    active: bool,
    status: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    avatar: Option<String>,
    rev: Option<String>,
    out_of_sync: bool,
}

impl RowDocument for AccountDocument {
    type Key = Did;
    type Row = AccountRow;

    fn from_row(key: Did, row: AccountRow) -> Option<Self> {
        Some(Self {
            did: key.to_string(),
            handle: row.handle.map(Into::into),
            active: row.active,
            status: row.status.map(Into::into),
            display_name: row.display_name.map(Into::into),
            description: row.description.map(Into::into),
            avatar: row.avatar.map(Into::into),
            rev: row.rev.map(|rev| rev.to_string()),
            out_of_sync: row.out_of_sync,
        })
    }

    fn into_row(self) -> Option<AccountRow> {
        Some(AccountRow {
            handle: self.handle.map(Into::into),
            active: self.active,
            status: self.status.map(Into::into),
            display_name: self.display_name.map(Into::into),
            description: self.description.map(Into::into),
            avatar: self.avatar.map(Into::into),
            rev: self.rev.map(|rev| rev.parse()).transpose().ok()?,
            out_of_sync: self.out_of_sync,
        })
    }
}

/// A row of `handles`: an account that claimed a handle.
#[derive(Debug, Serialize, Deserialize)]
pub struct HandleDocument {
    handle: String,
    did: String,
    claimed: DateTime,
}

impl RowDocument for HandleDocument {
    type Key = HandleKey;
    type Row = HandleRow;

    fn from_row(key: HandleKey, row: HandleRow) -> Option<Self> {
        Some(Self {
            handle: key.handle.into(),
            did: key.did.to_string(),
            claimed: date(row.claimed)?,
        })
    }

    fn into_row(self) -> Option<HandleRow> {
        let claimed = timestamp(self.claimed)?;
        Some(HandleRow { claimed })
    }
}
