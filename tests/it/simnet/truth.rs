//! Ledger, recount and dataflow: three independent ways to the same numbers.

use skytide_audit::recount::{self, Model, Policy};
use skytide_core::event::Message;
use skytide_simnet::{Ledger, Totals};
use skytide_tests::checkers::{counters_of, unlike_ledger};

use super::decoded::messages;
use super::{frames, with_bad};
use crate::recount::harness::Case;

pub(super) fn model() -> recount::Options {
    recount::Options {
        policy: Policy::ActiveAccountsOnly,
        interactions_days: Some(8),
    }
}

#[test]
fn ledger_and_recount_agree_on_a_network_with_every_kind_of_bad_input() {
    for seed in [21, 22] {
        let options = with_bad(seed, 8_000, 2_500);
        let frames: Vec<_> = frames(options.clone()).collect();
        let (mut ledger, mut counters) = (Ledger::default(), Totals::default());
        frames.iter().for_each(|frame| ledger.add(frame));
        frames.iter().for_each(|frame| counters.add(frame));
        let totals = ledger.totals();
        let mut model = Model::new(model());
        for message in messages(&frames, &options) {
            model.read(&message);
        }
        let rows = model.rows();

        assert_eq!(unlike_ledger(&rows, &totals), None, "seed {seed}");
        let mut counted = counters_of(&rows);
        counted.retain(|name, _| !super::decoded::is_coverage(name));
        assert_eq!(&counted, counters.by_name(), "seed {seed}");
    }
}

#[tokio::test]
async fn the_dataflow_agrees_with_the_recount_on_such_a_network() {
    let options = with_bad(23, 4_000, 2_500);
    let frames: Vec<_> = frames(options.clone()).collect();
    let log: Vec<Message> = messages(&frames, &options);
    let expected = recount::recount(&log, model());
    for workers in [1, 2] {
        let case = Case {
            seed: 23,
            options: model(),
            processes: 1,
            workers,
            epochs_max: 3,
        };
        case.compare(&expected, &case.run(&log).await);
    }
}
