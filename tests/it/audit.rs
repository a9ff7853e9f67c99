//! The audit: on a healthy run it finds nothing; after a change of one row it names that row.
//!
//! | family | what it proves |
//! |---|---|
//! | `a_healthy_run...` | no false difference: any policy, 1, 2 and 4 workers, restarts, spread checkpoints, trimmed logs |
//! | `a_row_that...` | every view: a changed, a removed and an added row is named, and no other one |
//! | `without...` | an audit that is not possible says so, and excludes no difference |
//! | `bases::...` | which checkpoint an audit starts from, and what bounds its work and memory |
//! | `on_mongodb...` | the same on a server that has snapshots or not, with changes by its own driver |

mod bases;
mod mongo;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use skytide_audit::{AuditError, Request, Scope, Sources, run};
use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::audit::AuditReport;
use skytide_core::port::checkpoint::CheckpointStore as _;
use skytide_core::port::log::Log as _;
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId};
use skytide_dataflow::{CheckpointOptions, Sections};
use skytide_tests::model::Rows;
use skytide_tests::world::Random;

use crate::recount::harness::{Case, Ground, day, first_day, seeds};
use crate::recount::logs::between;

/// All rows, one reader of them, as an audit reads them.
struct Stored {
    control: Control,
    rows: Rows,
}

#[async_trait]
impl ViewReader for Stored {
    async fn control(&self) -> Result<Control, StoreError> {
        Ok(self.control.clone())
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let rows = keys.iter().map(|key| {
            let row = self.rows[&view].get(key)?;
            Some(stored(key, row))
        });
        Ok(rows.collect())
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        let rows = self.rows[&view].range(range.from..);
        let rows = rows.filter(|(key, _)| range.to.as_ref().is_none_or(|to| *key < to));
        let rows = rows.map(|(key, row)| stored(key, row));
        Ok(rows.take(range.limit).collect())
    }
}

fn stored(key: &Key, row: &[u8]) -> StoredRow {
    StoredRow {
        key: key.clone(),
        epoch: Default::default(),
        row: row.into(),
    }
}

/// A ground with checkpoints, and the rows that its dataflow has committed.
struct Run {
    case: Case,
    ground: Ground,
    checkpoints: MemoryCheckpoints,
}

impl Run {
    fn new(case: Case) -> Self {
        let checkpoints = MemoryCheckpoints::new();
        let ground = Ground {
            checkpoints: Some(Arc::new(checkpoints.clone())),
            ..Ground::new()
        };
        Self {
            case,
            ground,
            checkpoints,
        }
    }

    /// Counts these epochs of the case's world, with this many workers.
    async fn live(&self, begin: usize, end: usize, workers: usize) {
        let case = self.case.with(workers, 3);
        let messages = case.world();
        self.ground.append(between(&messages, begin, end)).await;
        let mut options = case.dataflow();
        options.checkpoint = CheckpointOptions {
            interval: None,
            events: Some(25),
            shards_per_cut: Some(9 + (case.seed % 3) as u16 * 20),
            ..CheckpointOptions::default()
        };
        let lived = case.run_on(&self.ground, options).await;
        lived.unwrap_or_else(|error| panic!("{case:?}: {error}"));
    }

    fn sources(&self) -> Sources {
        Sources {
            log: Arc::new(self.ground.log.clone()),
            checkpoints: Some(Arc::new(self.checkpoints.clone())),
            sections: Arc::new(Sections),
        }
    }

    async fn stored(&self) -> Stored {
        let control = self.ground.store.control().await;
        Stored {
            control: control.expect("memory never fails"),
            rows: self.ground.store.rows_of_all(),
        }
    }
}

/// A request for this scope.
fn request(scope: Scope, seed: u64) -> Request {
    Request::new(scope, seed)
}

const SAMPLE: Scope = Scope::Sample { rows: 10_000 };

async fn audit(run: &Run, stored: &Stored, scope: Scope) -> AuditReport {
    let seed = run.case.seed;
    let audited = skytide_audit::run(&run.sources(), stored, &request(scope, seed)).await;
    audited.unwrap_or_else(|error| panic!("{:?}: {error}", run.case))
}

#[tokio::test]
async fn a_healthy_run_has_no_difference_at_any_point() {
    let (mut from_checkpoint, mut spread, mut lists, mut trimmed) = (0, 0, 0, 0);
    let seeds = seeds(20_000);
    for &seed in &seeds {
        let run = Run::new(Case::of(seed));
        let mut begin = 0;
        for (end, workers) in [(5, 1), (17, 2), (30, 4), (31, 1), (45, 2), (60, 4)] {
            run.live(begin, end, workers).await;
            begin = end;
            let stored = run.stored().await;
            let bounds = run.ground.log.bounds().await.expect("memory never fails");
            trimmed += usize::from(bounds.first.0 > 1);
            for scope in [Scope::All, SAMPLE, Scope::Sample { rows: 20 }] {
                let report = audit(&run, &stored, scope).await;
                assert_eq!(
                    report.differing, 0,
                    "seed {seed}, epoch {end}, {scope:?}: {:#?}",
                    report.differences
                );
                assert_eq!(report.epoch.0, end as u64);
                from_checkpoint += usize::from(report.checkpoint.is_some());
                if scope != Scope::All {
                    continue;
                }
                let audited = |view: ViewId| {
                    let mut views = report.views.iter();
                    views.find(|it| *it.view == *view.name()).expect("a view")
                };
                assert!(ViewId::ALL.iter().all(|view| audited(*view).view.len() > 2));
                // All rows were compared, except expired ones and, sometimes, lists.
                for (view, rows) in &stored.rows {
                    let audited = audited(*view);
                    let first = first_day(report.time, run.case.options.interactions_days);
                    let expired = |key: &&Key| *view == ViewId::Interactions && day(key) < first;
                    let rows = rows.keys().filter(|key| !expired(key)).count();
                    match audited.not_audited.is_some() {
                        true => {
                            let is_known = view.is_list() || *view == ViewId::Coverage;
                            assert!(is_known, "{} was not audited", view.name());
                        }
                        false => assert_eq!(audited.rows, rows as u64, "{}", view.name()),
                    }
                    lists += usize::from(view.is_list() && audited.rows > 0);
                }
            }
            for listed in run.checkpoints.list().await.expect("memory never fails") {
                let manifest = listed.manifest.expect("a manifest");
                let through: BTreeSet<_> = manifest.through.iter().collect();
                spread += usize::from(through.len() > 1);
            }
        }
    }
    let all = [from_checkpoint, spread, lists, trimmed];
    assert!(
        all.iter().all(|count| *count > 0) || seeds.len() < 3,
        "some case never occurred: {all:?}"
    );
}

/// What is done to one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Change,
    Remove,
    Add,
}

/// Damages one row of a view. Returns its key; `None` if no row is suitable.
fn damage(
    rows: &mut Rows,
    view: ViewId,
    damage: Damage,
    others: &Rows,
    random: &mut Random,
) -> Option<Key> {
    let view_rows = rows.get_mut(&view)?;
    let keys: Vec<Key> = view_rows.keys().cloned().collect();
    let key = |keys: &[Key], random: &mut Random| {
        let index = random.below(keys.len().max(1) as u64) as usize;
        keys.get(index).cloned()
    };
    match damage {
        Damage::Change => {
            let key = key(&keys, random)?;
            let other = view_rows.values().find(|row| **row != view_rows[&key])?;
            let other = other.clone();
            view_rows.insert(key.clone(), other);
            Some(key)
        }
        Damage::Remove => {
            let key = key(&keys, random)?;
            view_rows.remove(&key);
            Some(key)
        }
        Damage::Add => {
            let new = others[&view]
                .iter()
                .find(|(key, _)| !view_rows.contains_key(*key));
            let (key, row) = new?;
            view_rows.insert(key.clone(), row.clone());
            Some(key.clone())
        }
    }
}

#[tokio::test]
async fn a_row_that_was_changed_removed_or_added_is_named() {
    let mut named: BTreeMap<(ViewId, u8), usize> = BTreeMap::new();
    let (mut tried, mut sampled) = (0, 0);
    let seeds = seeds(21_000);
    for &seed in &seeds {
        let run = Run::new(Case::of(seed));
        run.live(0, 30, 2).await;
        run.live(30, 60, 1).await;
        let healthy = run.stored().await;
        let other = Run::new(Case::of(seed + 3));
        other.live(0, 60, 1).await;
        let others = other.stored().await.rows;
        let mut random = Random::new(seed);
        for view in ViewId::ALL {
            // No live record shows what is missing.
            if *view == ViewId::Coverage {
                continue;
            }
            for kind in [Damage::Change, Damage::Remove, Damage::Add] {
                let mut stored = Stored {
                    control: healthy.control.clone(),
                    rows: healthy.rows.clone(),
                };
                let rows = &mut stored.rows;
                let Some(key) = damage(rows, *view, kind, &others, &mut random) else {
                    continue;
                };
                let first = first_day(
                    healthy.control.committed.as_ref().expect("rows").time,
                    run.case.options.interactions_days,
                );
                if *view == ViewId::Interactions && day(&key) < first {
                    continue; // rows of expired days are removed some epochs later
                }
                let report = audit(&run, &stored, Scope::All).await;
                let lists_audited = report.views.iter().all(|audited| {
                    audited.not_audited.is_none() || &*audited.view == ViewId::Coverage.name()
                });
                if view.is_list() && !lists_audited {
                    continue;
                }
                let what = format!("seed {seed}, {} {key:?} {kind:?}", view.name());
                assert_eq!(report.differing, 1, "{what}: {:#?}", report.differences);
                let [difference] = &report.differences[..] else {
                    panic!("{what}: {:?}", report.differences);
                };
                assert_eq!(&*difference.view, view.name(), "{what}");
                assert_eq!(difference.expected.is_none(), kind == Damage::Add, "{what}");
                assert_eq!(difference.found.is_none(), kind == Damage::Remove, "{what}");
                *named.entry((*view, kind as u8)).or_default() += 1;
                tried += 1;
                let report = audit(&run, &stored, SAMPLE).await;
                assert!(report.differing <= 1, "{what}: {:#?}", report.differences);
                sampled += report.differing;
            }
        }
    }
    if seeds.len() >= 3 {
        assert!(named.len() > 2 * ViewId::ALL.len(), "{named:?}");
        // A sample of more rows than there are misses few of them.
        assert!(sampled * 10 > tried * 9, "{sampled} of {tried}");
    }
}

#[tokio::test]
async fn without_live_records_of_the_commit_no_audit_is_possible() {
    let run = Run::new(Case::of(22_000));
    let empty = run.stored().await;
    let audited = skytide_audit::run(&run.sources(), &empty, &request(SAMPLE, 1)).await;
    assert!(matches!(audited, Err(AuditError::Empty)), "{audited:?}");
    run.live(0, 40, 1).await;
    let stored = run.stored().await;
    let without = Sources {
        checkpoints: None,
        ..run.sources()
    };
    let bounds = run.ground.log.bounds().await.expect("memory never fails");
    assert!(bounds.first.0 > 1, "the log was not trimmed");
    let audited = skytide_audit::run(&without, &stored, &request(SAMPLE, 1)).await;
    assert!(
        matches!(audited, Err(AuditError::NoBase { .. })),
        "{audited:?}"
    );
    let other = Run::new(Case::of(22_001));
    other.live(0, 40, 1).await;
    let mixed = Sources {
        log: Arc::new(skytide_core::memory::MemoryLog::new(8)),
        ..run.sources()
    };
    let audited = run_on(&mixed, &stored).await;
    assert!(matches!(audited, Err(AuditError::OtherLog)), "{audited:?}");
    let replaced = Sources {
        log: Arc::new(other.ground.log.clone()),
        ..run.sources()
    };
    assert!(run_on(&replaced, &stored).await.is_err());
}

async fn run_on(sources: &Sources, stored: &Stored) -> Result<AuditReport, AuditError> {
    run(sources, stored, &request(Scope::All, 1)).await
}
