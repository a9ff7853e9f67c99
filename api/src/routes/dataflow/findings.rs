//! What holds the dataflow up, from what its workers did in the last seconds.
//!
//! A worker that waits is not the cause: what it waits for is. So each rule starts from a wait, and
//! names what the waiting workers wait for:
//!
//! ```text
//! the source waits for memory                ─▶ the memory limit
//! workers wait for the committer             ─▶ the view store
//! workers wait for each other within a batch ─▶ the worker that does not wait, and its operator
//! workers make cuts                          ─▶ checkpoints
//! workers wait for nothing                   ─▶ the operator that takes most of their time
//! workers wait for the next batch            ─▶ nothing: the dataflow keeps up
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skytide_core::port::graph::{OperatorReport, WorkerReport};
use skytide_core::port::memory::MemoryUse;

use super::recent::{Growth, Recent};

/// The view store is the cause if workers wait for it for this share of their time.
const COMMIT_WAIT_MIN: f64 = 0.1;
/// The view store is also the cause if one commit has taken so many seconds.
const COMMIT_SECONDS_MIN: f64 = 5.0;
/// A worker is the cause if the others wait for it for this share of their time.
const PARKED_MIN: f64 = 0.1;
/// That wait must also be so many times as long as its own.
const PARKED_RATIO_MIN: f64 = 3.0;
/// The system holds a worker up if a processor ran its thread for less than this share of the time in
/// which it did not wait.
const CPU_MIN: f64 = 0.5;
/// A worker is stuck if it has reported nothing for so many seconds while others have.
const SILENT_SECONDS_MIN: f64 = 3.0;
/// Checkpoints are the cause if their cuts take this share of the time.
const CUT_MIN: f64 = 0.15;
/// Operators are the cause if they take this share of the time of all workers.
const BUSY_MIN: f64 = 0.6;
/// The dataflow keeps up if workers wait for the next batch for this share of their time.
const BATCH_WAIT_MIN: f64 = 0.5;
/// Growth is reported from this size, and from this share of the size before.
const GROWTH_BYTES_MIN: u64 = 32 << 20;
const GROWTH_SHARE_MIN: f64 = 0.2;
/// Growth within a shorter time is not reported.
const GROWTH_SECONDS_MIN: f64 = 60.0;

/// One thing that holds the dataflow up, or that it keeps up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The number of the worker that is the cause, if one is.
    pub worker: Option<usize>,
    /// The address of the operator that is the cause, if one is.
    pub operator: Option<Vec<usize>>,
    /// The structure in memory that is the cause, if one is.
    pub state: Option<String>,
    /// The same for people.
    pub sentence: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FindingKind {
    /// A process is over its memory limit, so no batch is taken.
    Memory,
    /// Workers wait for the view store.
    Store,
    /// Workers wait for one of them.
    Worker,
    /// Cuts of checkpoints take much of the time.
    Checkpoint,
    /// Operators take most of the time.
    Operator,
    /// A structure in memory grows fast.
    Growth,
    /// Nothing: the workers wait for input.
    Idle,
    /// No cause stands out.
    Mixed,
}

/// All findings, the most important first. There is always one.
pub(super) fn findings(recent: &Recent) -> Vec<Finding> {
    let workers = &recent.workers;
    let mut found: Vec<Finding> = [
        full_memory(recent),
        stuck_worker(recent),
        slow_store(recent),
        slow_worker(workers),
        cuts(workers),
        busy_operator(workers),
    ]
    .into_iter()
    .flatten()
    .collect();
    if found.is_empty() {
        found.push(no_cause(workers));
    }
    found.extend(growing(&recent.growth));
    found
}

impl Finding {
    fn new(kind: FindingKind, sentence: String) -> Self {
        Self {
            kind,
            worker: None,
            operator: None,
            state: None,
            sentence,
        }
    }
}

/// The mean share of a time over all workers.
fn mean(workers: &[Arc<WorkerReport>], seconds: fn(&WorkerReport) -> f64) -> f64 {
    let running: f64 = workers.iter().map(|it| it.running_seconds).sum();
    share(workers.iter().map(|it| seconds(it)).sum(), running)
}

fn share(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => part / whole,
        false => 0.0,
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// The process whose memory stops the dataflow.
fn full_memory(recent: &Recent) -> Option<Finding> {
    let excess = recent.progress?.memory_excess?;
    let MemoryUse {
        used_bytes,
        bytes_max,
    } = excess.memory;
    let sentence = format!(
        "Memory holds the dataflow up: process {} uses {} MiB, and its limit (INDEXER_MEMORY_MAX) is \
         {} MiB. No further batch is taken.",
        excess.process,
        used_bytes >> 20,
        bytes_max >> 20
    );
    excess
        .waits
        .then(|| Finding::new(FindingKind::Memory, sentence))
}

fn slow_store(recent: &Recent) -> Option<Finding> {
    let waits = mean(&recent.workers, |it| it.commit_wait_seconds);
    let progress = recent.progress.unwrap_or_default();
    let current = progress.committing_seconds;
    // The committer also waits: for the worker whose part of a batch is the last.
    let commits = share(progress.commit_seconds + current, recent.seconds);
    let is_slow = waits >= COMMIT_WAIT_MIN && commits >= waits / 2.0;
    if !is_slow && current < COMMIT_SECONDS_MIN {
        return None;
    }
    let each = match (progress.commits, progress.commit_retries) {
        (_, retries @ 1..) => format!("; {retries} attempts of commits failed"),
        (0, 0) if current >= 1.0 => format!("; the commit in progress has taken {current:.0} s"),
        (0, 0) => String::new(),
        (commits, 0) => {
            let seconds = progress.commit_seconds / commits as f64;
            format!("; a commit takes {seconds:.2} s")
        }
    };
    let sentence = format!(
        "The view store holds the dataflow up: workers waited {} of their time until it had \
         written earlier rows{each}. The operators are not the cause.",
        percent(waits)
    );
    Some(Finding::new(FindingKind::Store, sentence))
}

/// A worker of this process that does not report while another one does. Reports of other processes
/// arrive with their batches, so they stop as well while a commit takes long.
fn stuck_worker(recent: &Recent) -> Option<Finding> {
    let seconds = |report: &WorkerReport| report.running_seconds;
    let own = || recent.workers.iter().filter(|it| !it.is_remote);
    let longest = own().map(|it| seconds(it)).fold(0.0, f64::max);
    let worker = own().find(|it| longest - seconds(it) >= SILENT_SECONDS_MIN)?;
    let committing = recent.progress.map_or(0.0, |it| it.committing_seconds);
    // Before the first reading, workers differ by when they started.
    if recent.is_whole_run || committing >= longest - seconds(worker) {
        return None;
    }
    let sentence = format!(
        "Worker {} has reported nothing for {:.0} s, and the others wait for it: one call of an \
         operator takes so long, or the operating system does not run its thread.",
        worker.worker,
        longest - seconds(worker)
    );
    Some(Finding {
        worker: Some(worker.worker),
        ..Finding::new(FindingKind::Worker, sentence)
    })
}

/// The worker for which the others wait within batches.
fn slow_worker(workers: &[Arc<WorkerReport>]) -> Option<Finding> {
    let parked = |it: &WorkerReport| share(it.parked_seconds, it.running_seconds);
    let slow = workers
        .iter()
        .min_by(|a, b| parked(a).total_cmp(&parked(b)))?;
    let others: Vec<&WorkerReport> = workers
        .iter()
        .map(|it| &**it)
        .filter(|it| it.worker != slow.worker)
        .collect();
    let mean = |seconds: &dyn Fn(&WorkerReport) -> f64| {
        let shares = others
            .iter()
            .map(|it| share(seconds(it), it.running_seconds));
        shares.sum::<f64>() / others.len().max(1) as f64
    };
    let waits = mean(&|it| it.parked_seconds);
    if waits < PARKED_MIN || waits < PARKED_RATIO_MIN * parked(slow) {
        return None;
    }
    let mut finding = Finding {
        worker: Some(slow.worker),
        ..Finding::new(FindingKind::Worker, String::new())
    };
    let excess = |seconds: fn(&WorkerReport) -> f64| {
        share(seconds(slow), slow.running_seconds) - mean(&seconds)
    };
    type Time = (&'static str, fn(&WorkerReport) -> f64);
    let times: [Time; 8] = [
        ("running operators", |it| it.busy_seconds),
        ("stepping outside of operators", |it| it.step_seconds),
        ("feeding its part of batches", |it| it.feed_seconds),
        ("consolidating rows", |it| it.consolidate_seconds),
        ("making cuts of checkpoints", |it| it.cut_seconds),
        ("waiting for the committer", |it| it.commit_wait_seconds),
        ("waiting for batches", |it| it.batch_wait_seconds),
        ("other work", |it| it.other_seconds),
    ];
    let longest = times
        .into_iter()
        .max_by(|(_, a), (_, b)| excess(*a).total_cmp(&excess(*b)));
    let (what, seconds) = longest?;
    let waited = format!(
        "Worker {} holds the others up: they waited for it {} of their time",
        slow.worker,
        percent(waits)
    );
    if let Some(sentence) = without_processor(slow) {
        // What it did says nothing then: its thread was stopped wherever it was.
        finding.sentence = format!("{waited}. {sentence}");
        return Some(finding);
    }
    let own = share(seconds(slow), slow.running_seconds);
    finding.sentence = format!("{waited}, while it spent {} on {what}.", percent(own));
    if what == times[0].0
        && let Some(operator) = most_excess(slow, &others)
    {
        let took = share(operator.busy_seconds, slow.running_seconds);
        finding.operator = Some(operator.address.clone());
        finding.sentence.push_str(&format!(
            " Most of the difference is in the operator {}, which took {} of its time: one key has \
             much of the input, or this worker's part of the state is large.",
            operator.name,
            percent(took)
        ));
    }
    Some(finding)
}

/// Says that the system does not run the thread of a worker, if that holds the worker up.
fn without_processor(worker: &WorkerReport) -> Option<String> {
    let waits = worker.parked_seconds + worker.commit_wait_seconds + worker.batch_wait_seconds;
    let ready = worker.running_seconds - waits;
    let had = share(worker.cpu_seconds?, ready);
    let sentence = format!(
        "A processor ran its thread for only {} of the time in which it did not wait. Look for other \
         programs, a CPU limit, more workers (INDEXER_WORKERS) than processors, and swapping.",
        percent(had)
    );
    (ready > 0.0 && had < CPU_MIN).then_some(sentence)
}

/// The operator that takes more time on one worker than on the others, by the largest difference.
fn most_excess<'a>(slow: &'a WorkerReport, others: &[&WorkerReport]) -> Option<&'a OperatorReport> {
    let mut elsewhere = BTreeMap::<&[usize], f64>::new();
    for other in others {
        for operator in &other.operators {
            let took = share(operator.busy_seconds, other.running_seconds);
            *elsewhere.entry(&operator.address).or_default() += took / others.len() as f64;
        }
    }
    let excess = |operator: &OperatorReport| {
        let mean = elsewhere.get(&operator.address[..]).copied().unwrap_or(0.0);
        share(operator.busy_seconds, slow.running_seconds) - mean
    };
    let operators = slow.operators.iter();
    operators.max_by(|a, b| excess(a).total_cmp(&excess(b)))
}

fn cuts(workers: &[Arc<WorkerReport>]) -> Option<Finding> {
    let cuts = mean(workers, |it| it.cut_seconds);
    let sentence = format!(
        "Checkpoints hold the dataflow up: their cuts took {} of the workers' time. A larger \
         INDEXER_CHECKPOINT_EVENTS makes them rarer.",
        percent(cuts)
    );
    (cuts >= CUT_MIN).then(|| Finding::new(FindingKind::Checkpoint, sentence))
}

fn busy_operator(workers: &[Arc<WorkerReport>]) -> Option<Finding> {
    let busy = mean(workers, |it| it.busy_seconds);
    if busy < BUSY_MIN {
        return None;
    }
    let running: f64 = workers.iter().map(|it| it.running_seconds).sum();
    let mut by_address = BTreeMap::<&[usize], (f64, &str)>::new();
    for operator in workers.iter().flat_map(|it| &it.operators) {
        let (seconds, _) = by_address
            .entry(&operator.address)
            .or_insert((0.0, &operator.name));
        *seconds += operator.busy_seconds;
    }
    let (address, (seconds, name)) = by_address
        .into_iter()
        .max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b))?;
    let sentence = format!(
        "The operators take {} of the workers' time. {name} takes {} of it, more than any other \
         operator.",
        percent(busy),
        percent(share(seconds, running * busy))
    );
    Some(Finding {
        operator: Some(address.to_vec()),
        ..Finding::new(FindingKind::Operator, sentence)
    })
}

/// What to say if no rule names a cause.
fn no_cause(workers: &[Arc<WorkerReport>]) -> Finding {
    let waits = mean(workers, |it| it.batch_wait_seconds);
    let busy = mean(workers, |it| it.busy_seconds);
    match waits >= BATCH_WAIT_MIN {
        true => {
            let sentence = format!(
                "Nothing holds the dataflow up: its workers waited for the next batch {} of their \
                 time.",
                percent(waits)
            );
            Finding::new(FindingKind::Idle, sentence)
        }
        false => {
            let sentence = format!(
                "No single cause stands out: the workers ran operators {} of their time, and waited \
                 for the next batch {}.",
                percent(busy),
                percent(waits)
            );
            Finding::new(FindingKind::Mixed, sentence)
        }
    }
}

/// The structure in memory that grew most, if it grew much.
fn growing(growth: &[Growth]) -> Option<Finding> {
    let grown = |it: &Growth| it.now.saturating_sub(it.before);
    let most = growth.iter().max_by_key(|it| grown(it))?;
    let bytes = grown(most);
    let relative = share(bytes as f64, most.before as f64);
    let is_much = bytes >= GROWTH_BYTES_MIN
        && (relative >= GROWTH_SHARE_MIN || most.before == 0)
        && most.seconds >= GROWTH_SECONDS_MIN;
    if !is_much {
        return None;
    }
    let remedy = match &most.option {
        Some(option) => format!(" {option} changes its size."),
        None => String::new(),
    };
    let sentence = format!(
        "{} grew by {} MiB to {} MiB in {:.0} s, more than any other structure in memory.{remedy}",
        most.name,
        bytes >> 20,
        most.now >> 20,
        most.seconds
    );
    Some(Finding {
        state: Some(most.name.clone()),
        ..Finding::new(FindingKind::Growth, sentence)
    })
}

#[cfg(test)]
mod tests;
