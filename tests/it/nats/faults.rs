//! Servers and connections that fail while the log is written and read: no message is lost,
//! repeated or reordered.

use std::time::Duration;

use skytide_core::port::log::Log;
use skytide_nats::NatsLog;
use skytide_tests::contract_log::{events, read};
use skytide_tests::servers::{Link, Nats};
use tokio::sync::watch;

use super::{connect, from_the_first, messages, named, raw};

const EVENTS: u64 = 6_000;
/// Size of one append. Batches of this size keep their order over all accounts.
const AT_ONCE: u64 = 150;

/// The number of messages that have been read, and the limit up to which the writer may write.
struct Flow {
    read: watch::Receiver<usize>,
    write_max: watch::Sender<u64>,
}

impl Flow {
    /// Waits until this many messages have been read, and permits writing 1,500 more: the following
    /// fault happens during writes.
    async fn reaches(&mut self, count: usize) {
        self.write_max.send_replace(count as u64 + 150);
        let there = *self.read.wait_for(|there| *there >= count).await.unwrap();
        assert!(there < EVENTS as usize, "the fault came too late: {there}");
        self.write_max.send_replace(count as u64 + 1_500);
    }
}

/// Writes and reads at the same time while `faults` causes faults.
async fn survives(log: &NatsLog, faults: impl AsyncFnOnce(&mut Flow)) {
    let (count, read_so_far) = watch::channel(0);
    let write_max = watch::Sender::new(0);
    let mut may_write = write_max.subscribe();
    let mut reader = from_the_first(log).await;
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while all.len() < EVENTS as usize {
            all.extend(reader.next(100).await.unwrap());
            count.send_replace(all.len());
        }
        all
    });
    let mut writer = log.writer().await.unwrap();
    let writing = tokio::spawn(async move {
        for from in (0..EVENTS).step_by(AT_ONCE as usize) {
            let to = from + AT_ONCE;
            assert!(may_write.wait_for(|max| *max >= to).await.is_ok());
            writer.append(events(from, AT_ONCE)).await.unwrap();
            if from.is_multiple_of(600) {
                writer.flush().await.unwrap();
            }
        }
        writer.flush().await.unwrap()
    });
    let mut flow = Flow {
        read: read_so_far,
        write_max,
    };
    faults(&mut flow).await;
    flow.write_max.send_replace(EVENTS);
    let next = writing.await.unwrap();
    let all = reading.await.unwrap();
    assert!(all.is_sorted_by_key(|(seq, _)| *seq));
    assert!(
        messages(all) == events(0, EVENTS),
        "the messages that were read differ from those written"
    );
    assert_eq!(log.bounds().await.unwrap().next, next);
    let mut again = from_the_first(log).await;
    let again = messages(read(&mut *again, EVENTS as usize).await);
    assert!(
        again == events(0, EVENTS),
        "the messages that are stored differ from those written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_stopped_and_frozen_while_the_log_is_written_and_read() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let mut config = named(&nats.url());
    config.in_flight_max = 50;
    let log = connect(&config).await;
    survives(&log, async |flow| {
        flow.reaches(450).await;
        nats.kill();
        nats.restart();
        flow.reaches(2_100).await;
        nats.stop();
        nats.restart();
        flow.reaches(3_750).await;
        nats.freeze();
        tokio::time::sleep(Duration::from_millis(700)).await;
        nats.thaw();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_cut_and_held_while_the_log_is_written_and_read() {
    let Some(nats) = Nats::start() else { return };
    let link = Link::to(nats.port());
    let mut config = named(&format!("nats://127.0.0.1:{}", link.port()));
    config.in_flight_max = 50;
    let log = connect(&config).await;
    survives(&log, async |flow| {
        for count in [450, 1_500, 2_550] {
            flow.reaches(count).await;
            link.cut();
            while log.problem().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.mend();
        }
        flow.reaches(3_750).await;
        link.hold();
        tokio::time::sleep(Duration::from_millis(700)).await;
        link.mend();
    })
    .await;
    assert!(link.connections() > 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_its_leader_continues() {
    let Some(mut cluster) = Nats::cluster_of_three() else {
        return;
    };
    let mut config = named(&cluster.url());
    config.replicas = 3;
    config.in_flight_max = 50;
    let log = connect(&config).await;
    survives(&log, async |flow| {
        flow.reaches(1_050).await;
        let leader = raw(&config)
            .await
            .cached_info()
            .cluster
            .clone()
            .unwrap()
            .leader;
        let leader = cluster.named(&leader.unwrap()).unwrap();
        cluster.nodes[leader].kill();
    })
    .await;
    let info = raw_of_the_living(&cluster, config.stream.as_str()).await;
    assert_eq!(info.config.num_replicas, 3);
}

async fn raw_of_the_living(
    cluster: &skytide_tests::servers::Cluster,
    stream: &str,
) -> async_nats::jetstream::stream::Info {
    let urls: Vec<async_nats::ServerAddr> = cluster
        .url()
        .split(',')
        .map(|url| url.parse().unwrap())
        .collect();
    let client = async_nats::connect(urls).await.unwrap();
    let stream = async_nats::jetstream::new(client)
        .get_stream(stream)
        .await
        .unwrap();
    stream.cached_info().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_blocks_while_the_server_is_away_and_reports_why() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let mut config = named(&nats.url());
    config.in_flight_max = 10;
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    writer.append(events(0, 100)).await.unwrap();
    nats.stop();
    let away = async {
        while log.problem() != Some("no connection to NATS") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // More messages than may be in flight, and enough time for several failed attempts.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    };
    let more = async {
        for from in (100..4_100).step_by(100) {
            writer.append(events(from, 100)).await.unwrap();
        }
        writer.flush().await.unwrap()
    };
    let mut more = std::pin::pin!(more);
    tokio::select! {
        next = &mut more => panic!("flushed up to {next} without a server"),
        () = away => {}
    }
    nats.restart();
    more.await;
    assert_eq!(log.problem(), None);
    let mut reader = from_the_first(&log).await;
    assert!(messages(read(&mut *reader, 4_100).await) == events(0, 4_100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_blocks_while_the_server_has_no_room() {
    let Some(config) = super::own_stream() else {
        return;
    };
    let log = connect(&config).await;
    let mut writer = log.writer().await.unwrap();
    let stream = raw(&config).await;
    let limit = async |bytes: i64| {
        let mut limited = stream.cached_info().config.clone();
        limited.max_bytes = bytes;
        let client = async_nats::connect(config.url[0].with_secret())
            .await
            .unwrap();
        async_nats::jetstream::new(client)
            .update_stream(limited)
            .await
            .unwrap();
    };
    limit(30_000).await;
    let write = async {
        writer.append(events(0, 200)).await.unwrap();
        writer.flush().await.unwrap()
    };
    let full = async {
        while !log.is_full() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut write = std::pin::pin!(write);
    tokio::select! {
        _ = &mut write => panic!("the write did not block"),
        () = full => {}
    }
    limit(1 << 30).await;
    write.await;
    assert!(!log.is_full());
    let mut reader = from_the_first(&log).await;
    assert_eq!(messages(read(&mut *reader, 200).await), events(0, 200));
}
