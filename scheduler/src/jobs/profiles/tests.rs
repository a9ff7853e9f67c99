use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use skytide_core::id::{Did, Epoch};
use skytide_core::memory::{MemoryProfiles, MemoryStore};
use skytide_core::port::clock::{Clock, ManualClock};
use skytide_core::port::profile::{
    FetchedProfiles, Profile, ProfileAges, ProfileSource, ProfileStore, SourceError, StoredProfile,
};
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, Change, Key, ListEntry, ListKey, ListRow, Measure, ViewId, ViewKey, Window,
    encode_row,
};

pub const NOW: Timestamp = Timestamp(1_783_175_888_000);
const DAY: Duration = Duration::from_secs(86_400);
const HOUR_MS: u64 = 3_600_000;

pub fn did(number: usize) -> Did {
    format!("did:web:n{number}.test").parse().expect("a DID")
}

fn profile(did: &Did) -> Profile {
    Profile {
        handle: did.to_string()["did:web:".len()..].into(),
        name: Some("Name".into()),
        avatar: None,
    }
}

/// A source that records its requests. It omits accounts in `unknown` from its answers, and refuses
/// requests that contain an account in `refused`.
#[derive(Default)]
pub struct Source {
    pub unknown: Vec<Did>,
    pub refused: Vec<Did>,
    /// The next answers, in order. After them, every answer is [`Next::Usual`].
    pub next: Mutex<VecDeque<Next>>,
    pub requests: Mutex<Vec<Vec<Did>>>,
    /// How long each answer takes.
    pub delay: Duration,
}

pub enum Next {
    /// The profiles of all accounts that the source knows.
    Usual,
    /// Refuses the request because of the rate limit, until this time.
    RateLimited(Timestamp),
    /// The usual answer, after which the rate limit is exhausted until this time.
    Exhausted(Timestamp),
    /// Counts the profile of this account as malformed, and returns all others.
    Malformed(Did),
    Failed,
}

#[async_trait]
impl ProfileSource for Source {
    async fn fetch(&self, dids: &[Did]) -> Result<FetchedProfiles, SourceError> {
        self.requests.lock().unwrap().push(dids.to_vec());
        tokio::time::sleep(self.delay).await;
        let mut answer = FetchedProfiles::default();
        match self.next.lock().unwrap().pop_front() {
            Some(Next::Failed) => return Err(SourceError::Failed("HTML, no JSON".into())),
            Some(Next::RateLimited(not_before)) => {
                return Err(SourceError::RateLimited { not_before });
            }
            Some(Next::Exhausted(moment)) => answer.not_before = Some(moment),
            Some(Next::Malformed(did)) => {
                let others = dids.iter().filter(|it| **it != did);
                answer.profiles = others.map(|did| (did.clone(), profile(did))).collect();
                answer.malformed = 1;
                return Ok(answer);
            }
            Some(Next::Usual) | None => {}
        }
        if dids.iter().any(|did| self.refused.contains(did)) {
            return Err(SourceError::Refused(
                "an account cannot be requested".to_owned(),
            ));
        }
        let known = dids.iter().filter(|did| !self.unknown.contains(did));
        answer.profiles = known.map(|did| (did.clone(), profile(did))).collect();
        Ok(answer)
    }
}

pub struct World {
    pub clock: Arc<ManualClock>,
    views: MemoryStore,
    pub profiles: MemoryProfiles,
    pub source: Arc<Source>,
    job: FetchProfiles,
    pub on_demand: OnDemandProfiles,
    epoch: Mutex<u64>,
}

impl World {
    pub fn new(source: Source, calls_max: usize) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.set(NOW);
        let (views, profiles) = (MemoryStore::new(), MemoryProfiles::default());
        Self::of(clock, views, profiles, Arc::new(source), calls_max)
    }

    /// A new process on the same stores and the same source.
    pub fn restarted(&self, calls_max: usize) -> Self {
        let (views, profiles) = (self.views.clone(), self.profiles.clone());
        let (clock, source) = (self.clock.clone(), self.source.clone());
        Self::of(clock, views, profiles, source, calls_max)
    }

    fn of(
        clock: Arc<ManualClock>,
        views: MemoryStore,
        profiles: MemoryProfiles,
        source: Arc<Source>,
        calls_max: usize,
    ) -> Self {
        let ages = ProfileAges {
            age_max: DAY,
            unknown_age_max: Duration::from_secs(3_600),
        };
        let limits = ProfileLimits { ages, calls_max };
        let (lists, stored) = (Arc::new(views.clone()), Arc::new(profiles.clone()));
        let fetcher = ProfileFetcher::new(clock.clone(), lists, stored, source.clone(), limits);
        let fetcher = Arc::new(fetcher);
        Self {
            job: FetchProfiles::new(fetcher.clone()),
            on_demand: OnDemandProfiles::new(fetcher),
            clock,
            views,
            profiles,
            source,
            epoch: Mutex::new(0),
        }
    }

    async fn commit(&self, view: ViewId, changes: Vec<Change>) {
        let epoch = {
            let mut epoch = self.epoch.lock().unwrap();
            *epoch += 1;
            Epoch(*epoch)
        };
        let term = self.views.lead().await.expect("lead").term;
        self.views.begin(term, epoch.into()).await.expect("begin");
        self.views.write(term, view, changes).await.expect("write");
        let committed = Committed {
            epoch,
            ..Committed::default()
        };
        self.views.commit(term, committed).await.expect("commit");
    }

    /// Commits a list for 24 hours by the first measure of the view.
    async fn commit_list(&self, view: ViewId, lang: &str, keys: impl Iterator<Item = String>) {
        let (window, measure) = (Window::Day, Measure::of(view)[0]);
        let key = ListKey {
            window,
            measure,
            lang: lang.into(),
        };
        let entry = |key: String| ListEntry {
            key: key.into(),
            value: 1,
            other: 0,
            longer: 1,
        };
        let entries = keys.map(entry).collect();
        self.commit(view, vec![row(&key, encode_row(&ListRow { entries }))])
            .await;
    }

    /// Commits a list of the accounts 0 to `count` - 1 in `top_actors`.
    pub async fn commit_actors(&self, count: usize) {
        let keys = (0..count).map(|number| did(number).to_string());
        self.commit_list(ViewId::TopActors, "", keys).await;
    }

    pub async fn commit_account(&self, number: usize, handle: &str, active: bool) {
        let account = AccountRow {
            handle: Some(handle.into()),
            active,
            ..AccountRow::default()
        };
        let changes = vec![row(&did(number), encode_row(&account))];
        self.commit(ViewId::Accounts, changes).await;
    }

    /// Runs the job and returns its report. Panics if the job does nothing.
    pub async fn run(&self) -> ProfilesReport {
        match self.job.run().await.expect("a run") {
            Report::Profiles(report) => report,
            other => panic!("{other}"),
        }
    }

    /// Runs the job and returns why it does nothing. Panics if it does something.
    pub async fn run_idle(&self) -> &'static str {
        match self.job.run().await.expect("a run") {
            Report::Nothing(why) => why,
            other => panic!("{other}"),
        }
    }

    /// Returns the requests since the last call.
    pub fn take_requests(&self) -> Vec<Vec<Did>> {
        std::mem::take(&mut *self.source.requests.lock().unwrap())
    }

    pub fn advance_clock(&self, ms: u64) {
        self.clock.set(Timestamp(self.clock.now().0 + ms));
    }

    pub async fn stored(&self, number: usize) -> Option<StoredProfile> {
        self.profiles
            .get(&[did(number)])
            .await
            .expect("read")
            .remove(0)
    }
}

fn row<K: ViewKey>(key: &K, row: Box<[u8]>) -> Change {
    Change {
        key: Key::of(key),
        row: Some(row),
    }
}

const FRESH: &str = "all profiles are fresh";
pub const PAUSED: &str = "requests to the source of profiles are paused";

#[tokio::test]
async fn every_listed_account_is_fetched_once_in_order_of_rank() {
    let world = World::new(Source::default(), 10);
    assert_eq!(world.run_idle().await, FRESH);
    let post = |number| format!("at://{}/app.bsky.feed.post/self", did(number));
    world
        .commit_list(ViewId::TopPosts, "de", [post(7), post(1)].into_iter())
        .await;
    world
        .commit_list(
            ViewId::TopPosts,
            "",
            [post(3), post(3), post(2)].into_iter(),
        )
        .await;
    let text = |number: usize| did(number).to_string();
    world
        .commit_list(ViewId::TopBlocks, "", [4, 1].map(text).into_iter())
        .await;
    world
        .commit_list(ViewId::TopMentions, "", [5].map(text).into_iter())
        .await;
    world
        .commit_list(ViewId::TopHashtags, "", ["art".to_owned()].into_iter())
        .await;
    let report = world.run().await;
    let expected = ProfilesReport {
        listed: 6,
        calls: 1,
        fetched: 6,
        ..ProfilesReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(world.take_requests(), [[3, 4, 5, 1, 2, 7].map(did)]);
    let stored = world.stored(3).await.expect("stored");
    assert_eq!(
        (stored.fetched, stored.profile),
        (NOW, Some(profile(&did(3))))
    );
    assert_eq!(world.run_idle().await, FRESH);
    assert_eq!(world.take_requests(), Vec::<Vec<Did>>::new());
}

#[tokio::test]
async fn the_requests_of_a_run_are_bounded_and_the_next_run_continues() {
    let world = World::new(Source::default(), 3);
    world.commit_actors(80).await;
    let report = world.run().await;
    assert_eq!((report.calls, report.fetched, report.left), (3, 75, 5));
    let lengths: Vec<usize> = world.take_requests().iter().map(Vec::len).collect();
    assert_eq!(lengths, [25, 25, 25]);
    let report = world.run().await;
    assert_eq!((report.calls, report.fetched, report.left), (1, 5, 0));
    assert_eq!(
        world.take_requests(),
        [(75..80).map(did).collect::<Vec<_>>()]
    );
}

#[tokio::test]
async fn an_account_that_changes_in_the_stream_is_fetched_again_once() {
    let world = World::new(Source::default(), 3);
    world.commit_actors(3).await;
    world.commit_account(1, "old.test", true).await;
    world.run().await;
    world.take_requests();
    world.commit_account(1, "old.test", true).await;
    assert_eq!(
        world.run_idle().await,
        FRESH,
        "an unchanged account is not fetched"
    );
    world.commit_account(1, "new.test", true).await;
    assert_eq!(world.run().await.fetched, 1);
    assert_eq!(world.take_requests(), [[did(1)]]);
    let stream = world.stored(1).await.expect("stored").stream;
    assert_eq!(stream.handle.as_deref(), Some("new.test"));
    assert_eq!(world.run_idle().await, FRESH);
}

#[tokio::test]
async fn profiles_and_unknown_accounts_are_fetched_again_by_age() {
    let source = Source {
        unknown: vec![did(0)],
        ..Source::default()
    };
    let world = World::new(source, 3);
    world.commit_actors(2).await;
    let report = world.run().await;
    assert_eq!((report.fetched, report.unknown, report.left), (1, 1, 0));
    assert_eq!(world.stored(0).await.expect("stored").profile, None);
    world.advance_clock(HOUR_MS - 1);
    assert_eq!(world.run_idle().await, FRESH);
    world.take_requests();
    world.advance_clock(1);
    world.run().await;
    assert_eq!(world.take_requests(), [[did(0)]]);
    world.advance_clock(23 * HOUR_MS);
    world.run().await;
    assert_eq!(world.take_requests(), [[did(0), did(1)]]);
}

#[tokio::test]
async fn the_profile_of_a_hidden_account_is_removed_and_not_requested() {
    let world = World::new(Source::default(), 3);
    world.commit_actors(2).await;
    world.run().await;
    world.commit_account(1, "gone.test", false).await;
    let report = world.run().await;
    assert_eq!((report.hidden, report.calls), (1, 0));
    assert_eq!(world.stored(1).await, None);
    assert_eq!(world.run_idle().await, FRESH);
    world.commit_account(1, "back.test", true).await;
    assert_eq!(world.run().await.fetched, 1);
}

#[tokio::test]
async fn a_malformed_entry_is_counted_and_not_requested_again_at_once() {
    let next = Mutex::new([Next::Malformed(did(3))].into());
    let world = World::new(
        Source {
            next,
            ..Source::default()
        },
        10,
    );
    world.commit_actors(25).await;
    let report = world.run().await;
    let expected = ProfilesReport {
        listed: 25,
        calls: 1,
        fetched: 24,
        unknown: 1,
        malformed: 1,
        ..ProfilesReport::default()
    };
    assert_eq!(report, expected);
    assert!(
        report.to_string().ends_with("; 1 entries were malformed"),
        "{report}"
    );
    assert_eq!(world.run_idle().await, FRESH);
    world.advance_clock(3_600_000);
    assert_eq!(world.run().await.fetched, 1);
}

#[tokio::test]
async fn a_source_that_limits_the_rate_is_paused_until_the_time_it_named() {
    let moment = Timestamp(NOW.0 + 70_000);
    let next = Mutex::new([Next::Usual, Next::RateLimited(moment)].into());
    let world = World::new(
        Source {
            next,
            ..Source::default()
        },
        10,
    );
    world.commit_actors(80).await;
    let report = world.run().await;
    let expected = ProfilesReport {
        listed: 80,
        calls: 2,
        fetched: 25,
        left: 55,
        not_before: Some(moment),
        ..ProfilesReport::default()
    };
    assert_eq!(report, expected);
    world.advance_clock(69_999);
    assert_eq!(world.run_idle().await, PAUSED);
    assert_eq!(world.take_requests().len(), 2);
    world.advance_clock(1);
    assert_eq!(world.run().await.fetched, 55);
}

#[tokio::test]
async fn an_answer_that_exhausts_the_rate_limit_is_used_and_the_next_request_waits() {
    let moment = Timestamp(NOW.0 + 5_000);
    let next = Mutex::new([Next::Exhausted(moment)].into());
    let world = World::new(
        Source {
            next,
            ..Source::default()
        },
        10,
    );
    world.commit_actors(30).await;
    let report = world.run().await;
    assert_eq!(
        (report.fetched, report.left, report.not_before),
        (25, 5, Some(moment))
    );
    assert_eq!(world.run_idle().await, PAUSED);
    world.advance_clock(5_000);
    assert_eq!(world.run().await.left, 0);
}

#[tokio::test]
async fn a_failure_ends_the_run_and_the_pause_doubles_until_an_answer() {
    let failed = (0..9).map(|_| Next::Failed);
    let next = failed.chain([Next::Usual, Next::Failed]).collect();
    let world = World::new(
        Source {
            next: Mutex::new(next),
            ..Source::default()
        },
        10,
    );
    world.commit_actors(30).await;
    let pauses = [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600];
    for seconds in pauses {
        assert!(world.job.run().await.is_err());
        assert_eq!(
            world.take_requests().len(),
            1,
            "the run ends at the first failure"
        );
        world.advance_clock(seconds * 1_000 - 1);
        assert_eq!(world.run_idle().await, PAUSED);
        world.advance_clock(1);
    }
    // The first request is answered and the second one fails: the failures are counted from 1.
    let error = world.job.run().await.expect_err("the second request fails");
    assert_eq!(error.to_string(), "the source failed after 25 profiles");
    assert!(
        world.stored(24).await.is_some(),
        "profiles before the failure are stored"
    );
    world.advance_clock(30_000);
    assert_eq!(world.run().await.left, 0);
}

#[tokio::test]
async fn an_account_that_makes_a_request_fail_is_found_and_stored_as_unknown() {
    let source = Source {
        refused: vec![did(9)],
        ..Source::default()
    };
    let world = World::new(source, 100);
    world.commit_actors(30).await;
    let report = world.run().await;
    assert_eq!((report.fetched, report.unknown, report.left), (29, 1, 0));
    // The sizes of the requests are 25, 12, 6, 6, 3, 3, 1, 2, 13 and, for the last accounts, 5.
    assert_eq!(report.calls, 10);
    assert_eq!(world.stored(9).await.expect("stored").profile, None);
    let requested: BTreeSet<Did> = world.take_requests().into_iter().flatten().collect();
    assert_eq!(requested.len(), 30);
    assert_eq!(world.run_idle().await, FRESH);
}

#[tokio::test]
async fn halves_of_a_refused_request_count_towards_the_limit_of_requests() {
    let source = Source {
        refused: (0..50).map(did).collect(),
        ..Source::default()
    };
    let world = World::new(source, 7);
    world.commit_actors(50).await;
    assert_eq!(world.run().await.calls, 7);
    assert_eq!(world.take_requests().len(), 7);
}
