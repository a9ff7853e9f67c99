//! The servers that other tests use behave as those tests require.

use skytide_tests::servers::{Link, Mongo, Nats};

async fn answers(url: &str) -> bool {
    let client = async_nats::connect(url).await.expect("a server");
    let jetstream = async_nats::jetstream::new(client);
    jetstream.query_account().await.is_ok()
}

#[tokio::test]
async fn a_restarted_server_has_its_port_and_its_data() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.create_stream("data").await.unwrap();
    nats.kill();
    assert!(async_nats::connect(nats.url()).await.is_err());
    nats.restart();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.get_stream("data").await.unwrap();
}

#[tokio::test]
async fn a_cut_link_refuses_connections_until_it_is_restored() {
    let Some(nats) = Nats::start() else { return };
    let link = Link::to(nats.port());
    let url = format!("nats://127.0.0.1:{}", link.port());
    assert!(answers(&url).await);
    link.cut();
    assert!(async_nats::connect(&url).await.is_err());
    link.mend();
    assert!(answers(&url).await);
    assert_eq!(link.connections(), 2);
}

#[tokio::test]
async fn a_cluster_of_three_takes_streams_of_three_replicas() {
    let Some(cluster) = Nats::cluster_of_three() else {
        return;
    };
    let client = async_nats::connect(cluster.nodes[1].url()).await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "three".to_owned(),
        num_replicas: 3,
        ..Default::default()
    };
    let stream = async_nats::jetstream::new(client)
        .create_stream(config)
        .await;
    let leader = stream
        .unwrap()
        .cached_info()
        .cluster
        .clone()
        .unwrap()
        .leader;
    assert!(cluster.named(&leader.unwrap()).is_some());
}

#[tokio::test]
async fn a_replica_set_has_a_primary() {
    let Some(set) = Mongo::replica_set() else {
        return;
    };
    let client = mongodb::Client::with_uri_str(set.uri()).await.unwrap();
    let ping = mongodb::bson::doc! { "ping": 1 };
    client.database("admin").run_command(ping).await.unwrap();
    assert!(set.primary().await.is_some());
}
