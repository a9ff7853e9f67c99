use std::time::Duration;

use super::tests::{NOW, Next, PAUSED, Source, World, did};
use skytide_core::id::Did;
use skytide_core::port::profile::{PausedServer, ProfileStore, SourcePause};
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

impl World {
    async fn request(&self, numbers: impl IntoIterator<Item = usize>) {
        let dids: Vec<Did> = numbers.into_iter().map(did).collect();
        let accepted = self.profiles.request(&dids, NOW).await.expect("requested");
        assert_eq!(accepted, dids.len());
    }

    /// Fetches what is requested. Returns the numbers of fetched profiles and of requests.
    async fn fetch_requested(&self) -> (usize, usize) {
        let report = self.on_demand.fetch_requested().await.expect("fetched");
        (report.fetched, report.calls)
    }
}

#[tokio::test]
async fn requested_profiles_are_fetched_once_unless_they_are_fresh_or_hidden() {
    let world = World::new(Source::default(), 10);
    world.commit_account(1, "one.test", true).await;
    world.commit_account(2, "hidden.test", false).await;
    assert_eq!(world.fetch_requested().await, (0, 0));
    world.request([1, 2, 3]).await;
    assert_eq!(world.fetch_requested().await, (2, 1));
    assert_eq!(world.take_requests(), [[1, 3].map(did)]);
    assert!(world.stored(2).await.is_none());
    let stored = world.stored(1).await.expect("stored");
    assert_eq!(stored.stream.handle.as_deref(), Some("one.test"));
    world.request([1, 3]).await;
    assert_eq!(world.fetch_requested().await, (0, 0));
    world.commit_account(1, "new.test", true).await;
    world.request([1, 3]).await;
    assert_eq!(world.fetch_requested().await, (1, 1));
    assert_eq!(world.take_requests(), [[did(1)]]);
}

/// A full page of an answer, from a source that takes half a second for each 25 accounts.
#[tokio::test(start_paused = true)]
async fn the_profiles_of_100_accounts_arrive_within_5_seconds() {
    let source = Source {
        delay: Duration::from_millis(500),
        ..Source::default()
    };
    let world = World::new(source, 10);
    world.request(0..100).await;
    let (profiles, requests) = (world.profiles.clone(), world.source.clone());
    let stop = CancellationToken::new();
    let fetching = tokio::spawn(world.on_demand.run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let dids: Vec<Did> = (0..100).map(did).collect();
    let stored = profiles.get(&dids).await.expect("read");
    assert_eq!(stored.iter().flatten().count(), 100);
    assert_eq!(requests.requests.lock().expect("no panic").len(), 4);
    stop.cancel();
    fetching.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn requests_on_demand_leave_half_of_the_budget_to_the_job_and_wait_for_the_next_minute() {
    let world = World::new(Source::default(), 2);
    world.commit_actors(100).await;
    world.request(200..300).await;
    assert_eq!(world.fetch_requested().await, (50, 2));
    assert_eq!(world.fetch_requested().await, (0, 0));
    assert_eq!(world.run().await.calls, 2);
    assert_eq!(world.run().await.calls, 0, "four requests a minute");
    assert_eq!(world.fetch_requested().await, (0, 0));
    world.advance_clock(60_000);
    assert_eq!(world.fetch_requested().await, (50, 2));
    assert!(world.stored(299).await.is_some());
}

#[tokio::test]
async fn a_pause_applies_to_the_job_and_on_demand_and_survives_a_restart() {
    let moment = Timestamp(NOW.0 + 70_000);
    let next = std::sync::Mutex::new([Next::RateLimited(moment)].into());
    let world = World::new(
        Source {
            next,
            ..Source::default()
        },
        10,
    );
    world.commit_actors(2).await;
    world.request([7]).await;
    assert_eq!(world.fetch_requested().await, (0, 1));
    let pause = world
        .profiles
        .pause(PausedServer::Profiles)
        .await
        .expect("read");
    let expected = SourcePause {
        not_before: moment,
        failures_in_a_row: 0,
    };
    assert_eq!(pause, expected);
    assert_eq!(world.run_idle().await, PAUSED);
    let restarted = world.restarted(10);
    assert_eq!(restarted.run_idle().await, PAUSED);
    assert_eq!(restarted.fetch_requested().await, (0, 0));
    assert_eq!(world.take_requests().len(), 1);
    world.advance_clock(70_000);
    // The request that was not answered was not lost.
    assert_eq!(restarted.fetch_requested().await, (1, 1));
    assert_eq!(restarted.run().await.fetched, 2);
    let pause = world
        .profiles
        .pause(PausedServer::Profiles)
        .await
        .expect("read");
    assert_eq!(pause, SourcePause::default());
}

#[tokio::test]
async fn failures_are_counted_over_a_restart() {
    let next = std::sync::Mutex::new([Next::Failed, Next::Failed].into());
    let world = World::new(
        Source {
            next,
            ..Source::default()
        },
        10,
    );
    world.request([7]).await;
    assert!(world.on_demand.fetch_requested().await.is_err());
    world.advance_clock(30_000);
    let restarted = world.restarted(10);
    restarted.request([8]).await;
    assert!(restarted.on_demand.fetch_requested().await.is_err());
    let pause = world
        .profiles
        .pause(PausedServer::Profiles)
        .await
        .expect("read");
    let expected = SourcePause {
        not_before: Timestamp(NOW.0 + 30_000 + 60_000),
        failures_in_a_row: 2,
    };
    assert_eq!(pause, expected, "the second failure doubles the pause");
}

#[tokio::test]
async fn a_rate_limit_without_a_future_end_is_a_pause_that_grows() {
    let next = std::sync::Mutex::new([Next::RateLimited(NOW), Next::RateLimited(NOW)].into());
    let source = Source {
        next,
        ..Source::default()
    };
    let world = World::new(source, 10);
    world.request([7]).await;
    assert_eq!(world.fetch_requested().await, (0, 1));
    assert_eq!(world.fetch_requested().await, (0, 0), "paused");
    world.advance_clock(30_000);
    assert_eq!(world.fetch_requested().await, (0, 1));
    world.advance_clock(59_999);
    assert_eq!(world.fetch_requested().await, (0, 0), "paused");
    world.advance_clock(1);
    assert_eq!(world.fetch_requested().await, (1, 1));
}

#[tokio::test]
async fn a_failure_loses_no_requests() {
    let next = std::sync::Mutex::new([Next::Usual, Next::Failed].into());
    let source = Source {
        next,
        ..Source::default()
    };
    let world = World::new(source, 10);
    world.request(0..60).await;
    assert!(world.on_demand.fetch_requested().await.is_err());
    world.advance_clock(60_000);
    assert_eq!(world.fetch_requested().await, (35, 2));
}

#[tokio::test]
async fn nothing_is_stored_of_an_account_that_neither_the_stream_nor_the_source_knows() {
    let source = Source {
        unknown: vec![did(1), did(2)],
        ..Source::default()
    };
    let world = World::new(source, 10);
    world.commit_account(1, "one.test", true).await;
    world.request([1, 2]).await;
    let long: Did = format!("did:web:{}", "a".repeat(300))
        .parse()
        .expect("a DID");
    world
        .profiles
        .request(&[long], NOW)
        .await
        .expect("requested");
    let report = world.on_demand.fetch_requested().await.expect("fetched");
    assert_eq!((report.unknown, report.left), (2, 0));
    assert_eq!(world.take_requests(), [[1, 2].map(did)]);
    assert!(world.stored(1).await.is_some());
    assert!(world.stored(2).await.is_none());
}

#[tokio::test]
async fn a_stored_pause_of_years_ends_after_a_day() {
    let world = World::new(Source::default(), 10);
    let day = 86_400_000;
    let pause = SourcePause {
        not_before: Timestamp(NOW.0 + 3_000 * day),
        failures_in_a_row: 1,
    };
    world
        .profiles
        .set_pause(PausedServer::Profiles, &pause)
        .await
        .expect("stored");
    world.request([7]).await;
    assert_eq!(world.fetch_requested().await, (0, 0));
    world.advance_clock(day - 1);
    assert_eq!(world.fetch_requested().await, (0, 0));
    world.advance_clock(1);
    assert_eq!(world.fetch_requested().await, (1, 1));
}
