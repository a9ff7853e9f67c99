//! What the server serves: a network that makes one frame after the other, or frames that were made before.

use bytes::Bytes;
use skytide_core::id::Did;
use skytide_core::time::Timestamp;

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

/// The hosting status of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub did: Did,
    /// The handle, without `@`.
    pub handle: String,
    /// The name of its profile, if it has one.
    pub display_name: Option<String>,
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

    /// The number of the newest frame that was made or skipped; 0: none.
    fn newest_seq(&self) -> u64;

    /// An account.
    fn person(&self, did: &Did) -> Option<Person>;

    /// Whose handle it is.
    fn did_of_handle(&self, handle: &str) -> Option<Did>;

    /// Up to `limit` accounts behind one, in the order of their DIDs' texts.
    fn dids_behind(&self, did: Option<&Did>, limit: usize) -> Vec<Did>;

    /// A whole repo as a CAR file.
    fn repo_car(&mut self, did: &Did) -> Option<Vec<u8>>;

    /// CID and revision of a repo's newest commit, as text.
    fn latest_commit(&mut self, did: &Did) -> Option<(String, String)>;
}

/// Frames that were made before, and nothing behind them: no accounts, no repos.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    frames: std::collections::VecDeque<Outgoing>,
    newest: u64,
}

impl Prepared {
    /// These frames, in their order.
    pub fn new(frames: impl IntoIterator<Item = Outgoing>) -> Self {
        Self {
            frames: frames.into_iter().collect(),
            newest: 0,
        }
    }
}

impl Feed for Prepared {
    fn next_time(&self) -> Option<Timestamp> {
        self.frames.front().map(|frame| frame.time)
    }

    fn next_frame(&mut self) -> Option<Outgoing> {
        let frame = self.frames.pop_front()?;
        self.newest = self.newest.max(frame.seq);
        Some(frame)
    }

    fn skip_to(&mut self, seq: u64) {
        while self.frames.pop_front_if(|it| it.seq <= seq).is_some() {}
        self.newest = self.newest.max(seq);
    }

    fn newest_seq(&self) -> u64 {
        self.newest
    }

    fn person(&self, _: &Did) -> Option<Person> {
        None
    }

    fn did_of_handle(&self, _: &str) -> Option<Did> {
        None
    }

    fn dids_behind(&self, _: Option<&Did>, _: usize) -> Vec<Did> {
        Vec::new()
    }

    fn repo_car(&mut self, _: &Did) -> Option<Vec<u8>> {
        None
    }

    fn latest_commit(&mut self, _: &Did) -> Option<(String, String)> {
        None
    }
}
