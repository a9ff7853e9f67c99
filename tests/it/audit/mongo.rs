//! The audit of rows on MongoDB.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use skytide::data::mongodb::one_commit;
use skytide_audit::{Scope, Sources};
use skytide_core::config::Mongo as Options;
use skytide_core::port::audit::AuditReport;
use skytide_core::view::ViewId;
use skytide_dataflow::{Metrics, Sections};
use skytide_mongodb::MongoStore;
use skytide_tests::servers::Mongo;
use tokio_util::sync::CancellationToken;

use super::{SAMPLE, request};
use crate::mongo::{Own, database_at, own_database};
use crate::recount::harness::{Case, Ground};

/// Counts a world into the database and audits it after each change by the driver.
async fn audits_name_what_the_driver_changed((options, own): (Options, Own)) {
    let case = Case::of(23_000);
    let ground = Ground::new();
    ground.append(&case.world()).await;
    let store = MongoStore::connect(&options).await.expect("a server");
    let dataflow = skytide_dataflow::Options {
        until_last: true,
        ..case.dataflow()
    };
    let ports = skytide_dataflow::Ports {
        store: Arc::new(store.clone()),
        ..ground.ports()
    };
    let never = CancellationToken::new();
    let counted = skytide_dataflow::run(dataflow, ports, Arc::<Metrics>::default(), never).await;
    counted.expect("the dataflow completes");
    let sources = Sources {
        log: Arc::new(ground.log.clone()),
        checkpoints: None,
        sections: Arc::new(Sections),
    };
    let audit = async |scope: Scope| -> AuditReport {
        let reader = one_commit(&store).await.expect("a reader");
        let audited = skytide_audit::run(&sources, reader.as_ref(), &request(scope, 1)).await;
        audited.expect("an audit")
    };
    for scope in [Scope::All, SAMPLE] {
        let report = audit(scope).await;
        assert_eq!(report.differing, 0, "{:#?}", report.differences);
        assert!(report.rows > 100, "{}", report.rows);
    }

    let posts = own.documents(ViewId::Posts).await;
    // Not a row that is stored as bytes: it has no such field.
    let liked = posts.find_one(doc! {"likes": {"$gte": 1}}).await;
    let before = liked.expect("an answer").expect("a post");
    let of = doc! {"_id": before.get("_id").expect("a key").clone()};
    let changed = posts
        .update_one(of.clone(), doc! {"$inc": {"likes": 1}})
        .await;
    assert_eq!(changed.expect("an answer").modified_count, 1);
    // A sample may leave the post out.
    let report = audit(Scope::All).await;
    assert_eq!(report.differing, 1, "{:#?}", report.differences);
    assert_eq!(&*report.differences[0].view, "posts");
    let likes = |row: &Option<Box<str>>| row.as_deref().map(likes);
    let (expected, found) = (
        likes(&report.differences[0].expected),
        likes(&report.differences[0].found),
    );
    assert_eq!(expected.map(|likes| likes + 1), found);
    posts.delete_one(of).await.expect("an answer");
    let report = audit(Scope::All).await;
    assert_eq!(report.differing, 1, "{:#?}", report.differences);
    assert_eq!(report.differences[0].found, None);
    posts.insert_one(before).await.expect("an answer");
    let report = audit(Scope::All).await;
    assert_eq!(report.differing, 0, "{:#?}", report.differences);

    let counters = own.documents(ViewId::Counters).await;
    let one = counters
        .find_one(doc! {"name": "dropped/rev_repeated"})
        .await
        .expect("an answer");
    let added = with_other_name(one.expect("a counter"));
    counters.insert_one(added).await.expect("an answer");
    let report = audit(Scope::All).await;
    assert_eq!(report.differing, 1, "{:#?}", report.differences);
    assert_eq!(report.differences[0].expected, None);
}

/// The number of likes in a row.
fn likes(row: &str) -> u64 {
    let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
    row["likes"].as_u64().expect("a number")
}

/// A counter that no log counts.
fn with_other_name(mut counter: Document) -> Document {
    let name = "made/by_hand";
    counter.insert("name", name);
    counter.insert("_id", id(format!("{name}\0").as_bytes()));
    counter
}

/// A key as `docs/mongodb.md` describes it: base 64 with an alphabet in ascending order.
fn id(key: &[u8]) -> String {
    let digits = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    let bits: Vec<u8> = key
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let digit = |bits: &[u8]| {
        let padded = bits.iter().chain(&[0; 6]).take(6);
        let value = padded.fold(0, |value, bit| value << 1 | usize::from(*bit));
        char::from(digits[value])
    };
    bits.chunks(6).map(digit).collect()
}

#[tokio::test]
async fn on_mongodb_without_snapshots_audits_name_what_was_changed() {
    let Some(database) = own_database() else {
        return;
    };
    audits_name_what_the_driver_changed(database).await;
}

#[tokio::test]
async fn on_mongodb_with_snapshots_audits_name_what_was_changed() {
    let Some(servers) = Mongo::replica_set() else {
        return;
    };
    audits_name_what_the_driver_changed(database_at(&servers.uri())).await;
}
