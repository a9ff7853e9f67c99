//! `/v1/audit`: hashes of all rows, and the newest audit.

use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::audit::{AuditReport, AuditReporter, AuditedView, Difference};
use skytide_core::time::Timestamp;

use crate::schema::violations;
use crate::world::{World, get_json};

/// The audits of a process whose newest one has this report.
struct Newest(AuditReport);

impl AuditReporter for Newest {
    fn newest(&self) -> Option<Arc<AuditReport>> {
        Some(Arc::new(self.0.clone()))
    }
}

fn report() -> AuditReport {
    AuditReport {
        scope: "sample".into(),
        epoch: Epoch(7),
        time: Timestamp(1_700_000_000_000),
        checkpoint: Some(Epoch(5)),
        rows: 3,
        differing: 2,
        views: vec![AuditedView {
            view: "counters".into(),
            rows: 3,
            differing: 2,
            not_audited: None,
        }],
        differences: vec![
            Difference {
                view: "counters".into(),
                key: "frames".into(),
                expected: Some(r#"{"value":2}"#.into()),
                found: Some(r#"{"value":3}"#.into()),
            },
            Difference {
                view: "counters".into(),
                key: "made".into(),
                expected: None,
                found: Some("not JSON".into()),
            },
        ],
        ..AuditReport::default()
    }
}

#[tokio::test]
async fn the_answer_has_the_hashes_of_the_commit_and_the_newest_audit() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let (status, answer) = get_json(world.state(), "/v1/audit").await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(violations("Audit", &answer), Vec::<String>::new());
    assert!(answer["audit"].is_null(), "{answer:#}");

    let state = world.state().with_audits(Arc::new(Newest(report())));
    let (_, answer) = get_json(state, "/v1/audit").await;
    let audit = &answer["audit"];
    assert_eq!(
        audit["differences"][0]["expected"]["value"], 2,
        "{answer:#}"
    );
    assert_eq!(audit["differences"][1]["found"], "not JSON", "{answer:#}");
    assert_eq!(audit["epoch"], 7, "{answer:#}");
    assert_eq!(audit["as_of"], "2023-11-14T22:13:20.000Z", "{answer:#}");
}

#[tokio::test]
async fn nothing_is_hashed_before_the_first_commit() {
    let (status, problem) = get_json(World::empty().state(), "/v1/audit").await;
    assert_eq!(status, 503, "{problem:#}");
    assert_eq!(problem["code"], "nothing_counted_yet");
}
