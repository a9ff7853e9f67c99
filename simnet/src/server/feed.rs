//! The source of the served frames: a network that renders one frame after another, or frames that
//! were rendered earlier.

use std::collections::VecDeque;

use bytes::Bytes;
use skytide_core::id::Did;
use skytide_core::time::Timestamp;

use crate::frame::Frame;
use crate::network::Network;

/// A frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingFrame {
    /// Its sequence number.
    pub seq: u64,
    /// The network time at which it is sent.
    pub time: Timestamp,
    /// One WebSocket message.
    pub bytes: Bytes,
    /// Number of events that a correct consumer makes of it.
    pub events: u32,
    /// The kind of malformed input, if it is one.
    pub malformed: Option<&'static str>,
}

/// What the servers know about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedAccount {
    /// The account's DID.
    pub did: Did,
    /// The handle, without `@`.
    pub handle: String,
    /// The display name, if it has a profile.
    pub display_name: Option<String>,
    /// The description, if it has a profile.
    pub description: Option<String>,
    /// The CID of its picture, if it has one.
    pub avatar: Option<String>,
    /// Why it is inactive: `deactivated`, `deleted`, `takendown`, `suspended`.
    pub status: Option<&'static str>,
    /// Its public key: `did:key:z...`.
    pub key: String,
}

/// A network as the server uses it.
pub trait Feed: Send + 'static {
    /// Network time of the next frame; `None` if there is none.
    fn next_time(&self) -> Option<Timestamp>;

    /// The next frame; `None` if there is none.
    fn next_frame(&mut self) -> Option<OutgoingFrame>;

    /// Advances to the first frame with a sequence number above `seq`, without rendering the frames
    /// before it.
    fn skip_to(&mut self, seq: u64);

    /// The sequence number of the next frame; `None` if there is none.
    fn next_seq(&self) -> Option<u64>;

    /// An account. The default implementations of this and the following methods are those of a
    /// feed without accounts.
    fn hosted_account(&mut self, _did: &Did) -> Option<HostedAccount> {
        None
    }

    /// The account that has a handle.
    fn did_of_handle(&self, _handle: &str) -> Option<Did> {
        None
    }

    /// Up to `limit` accounts after `did`, ordered by DID.
    fn dids_after(&self, _did: Option<&Did>, _limit: usize) -> Vec<Did> {
        Vec::new()
    }

    /// A whole repo as a CAR file.
    fn repo_car(&mut self, _did: &Did) -> Option<Vec<u8>> {
        None
    }

    /// CID and revision of a repo's newest commit, as text.
    fn latest_commit(&mut self, _did: &Did) -> Option<(String, String)> {
        None
    }
}

/// A feed of frames that were rendered earlier. It has no accounts and no repos.
#[derive(Clone, Debug, Default)]
pub struct PreparedFrames {
    frames: VecDeque<OutgoingFrame>,
}

impl PreparedFrames {
    /// A feed of these frames, in their order.
    pub fn new(frames: impl IntoIterator<Item = OutgoingFrame>) -> Self {
        Self {
            frames: frames.into_iter().collect(),
        }
    }
}

impl Feed for PreparedFrames {
    fn next_time(&self) -> Option<Timestamp> {
        self.frames.front().map(|frame| frame.time)
    }

    fn next_frame(&mut self) -> Option<OutgoingFrame> {
        self.frames.pop_front()
    }

    fn skip_to(&mut self, seq: u64) {
        while self.frames.pop_front_if(|it| it.seq <= seq).is_some() {}
    }

    fn next_seq(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.seq)
    }
}

impl From<Frame> for OutgoingFrame {
    fn from(frame: Frame) -> Self {
        Self {
            seq: frame.seq,
            time: frame.time,
            bytes: frame.bytes,
            events: frame.events.len() as u32,
            malformed: frame.malformed.map(crate::malformed::Kind::as_str),
        }
    }
}

impl Feed for Network {
    fn next_time(&self) -> Option<Timestamp> {
        self.peek_time()
    }

    fn next_frame(&mut self) -> Option<OutgoingFrame> {
        Self::next_frame(self).map(OutgoingFrame::from)
    }

    fn skip_to(&mut self, seq: u64) {
        Self::skip_to(self, seq);
    }

    fn next_seq(&self) -> Option<u64> {
        self.peek_seq()
    }

    fn hosted_account(&mut self, did: &Did) -> Option<HostedAccount> {
        let account = self.account(did)?;
        Some(HostedAccount {
            did: account.did,
            handle: account.handle,
            display_name: account.display_name,
            description: account.description,
            avatar: account.avatar,
            status: account.status,
            key: account.did_key,
        })
    }

    fn did_of_handle(&self, handle: &str) -> Option<Did> {
        Self::did_of_handle(self, handle)
    }

    fn dids_after(&self, did: Option<&Did>, limit: usize) -> Vec<Did> {
        let is_after = |it: &Did| did.is_none_or(|did| it > did);
        let mut dids: Vec<Did> = self.dids().filter(is_after).collect();
        dids.sort_unstable();
        dids.truncate(limit);
        dids
    }

    fn repo_car(&mut self, did: &Did) -> Option<Vec<u8>> {
        Self::repo_car(self, did)
    }

    fn latest_commit(&mut self, did: &Did) -> Option<(String, String)> {
        let (commit, rev) = Self::latest_commit(self, did)?;
        Some((commit.to_string(), rev.to_string()))
    }
}
