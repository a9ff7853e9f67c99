//! What the server serves: a network that makes one frame after the other, or frames that were made before.

use std::collections::VecDeque;

use bytes::Bytes;
use skytide_core::id::Did;
use skytide_core::time::Timestamp;

use crate::frame::Frame;
use crate::network::Network;

/// A frame on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number in the stream.
    pub seq: u64,
    /// When it leaves, in network time.
    pub time: Timestamp,
    /// One WebSocket message.
    pub bytes: Bytes,
    /// Events that a correct consumer makes of it.
    pub events: u32,
    /// What is wrong with it on purpose.
    pub bad: Option<&'static str>,
}

/// What the servers know of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub did: Did,
    /// The handle, without `@`.
    pub handle: String,
    /// The name of its profile, if it has one.
    pub display_name: Option<String>,
    /// The text of its profile, if it has one.
    pub description: Option<String>,
    /// The CID of its picture, if it has one.
    pub avatar: Option<String>,
    /// Why it is not active: `deactivated`, `deleted`, `takendown`, `suspended`.
    pub status: Option<&'static str>,
    /// Its public key: `did:key:z...`.
    pub key: String,
}

/// A network as the server sees it.
pub trait Feed: Send + 'static {
    /// Network time of the next frame; `None`: there is none.
    fn next_time(&self) -> Option<Timestamp>;

    /// The next frame; `None`: there is none.
    fn next_frame(&mut self) -> Option<Outgoing>;

    /// Goes on behind the frame with this number, without making those before it.
    fn skip_to(&mut self, seq: u64);

    /// The number of the next frame; `None`: there is none.
    fn next_seq(&self) -> Option<u64>;

    /// An account. Frames alone have none, as in the following.
    fn person(&mut self, _did: &Did) -> Option<Person> {
        None
    }

    /// Whose handle it is.
    fn did_of_handle(&self, _handle: &str) -> Option<Did> {
        None
    }

    /// Up to `limit` accounts behind one, in the order of their DIDs' texts.
    fn dids_behind(&self, _did: Option<&Did>, _limit: usize) -> Vec<Did> {
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

/// Frames that were made before, and nothing behind them: no accounts, no repos.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    frames: VecDeque<Outgoing>,
}

impl Prepared {
    /// These frames, in their order.
    pub fn new(frames: impl IntoIterator<Item = Outgoing>) -> Self {
        Self {
            frames: frames.into_iter().collect(),
        }
    }
}

impl Feed for Prepared {
    fn next_time(&self) -> Option<Timestamp> {
        self.frames.front().map(|frame| frame.time)
    }

    fn next_frame(&mut self) -> Option<Outgoing> {
        self.frames.pop_front()
    }

    fn skip_to(&mut self, seq: u64) {
        while self.frames.pop_front_if(|it| it.seq <= seq).is_some() {}
    }

    fn next_seq(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.seq)
    }
}

impl From<Frame> for Outgoing {
    fn from(frame: Frame) -> Self {
        Self {
            seq: frame.seq,
            time: frame.time,
            bytes: frame.bytes,
            events: frame.events.len() as u32,
            bad: frame.bad.map(crate::bad::Kind::as_str),
        }
    }
}

impl Feed for Network {
    fn next_time(&self) -> Option<Timestamp> {
        self.peek_time()
    }

    fn next_frame(&mut self) -> Option<Outgoing> {
        Self::next_frame(self).map(Outgoing::from)
    }

    fn skip_to(&mut self, seq: u64) {
        Self::skip_to(self, seq);
    }

    fn next_seq(&self) -> Option<u64> {
        self.peek_seq()
    }

    fn person(&mut self, did: &Did) -> Option<Person> {
        let account = self.account(did)?;
        Some(Person {
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

    fn dids_behind(&self, did: Option<&Did>, limit: usize) -> Vec<Did> {
        let is_behind = |it: &Did| did.is_none_or(|did| it > did);
        let mut dids: Vec<Did> = self.dids().filter(is_behind).collect();
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
