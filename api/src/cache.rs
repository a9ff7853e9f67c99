//! Reuses answers, and reads each answer once however many clients ask for it at the same time.
//!
//! ```text
//! question ─▶ cached and current? ─ yes ─────────────────────────────▶ answer
//!                 └ no ─▶ is it being read? ─ yes ─▶ old answer, or wait ─┐
//!                               └ no ─▶ read it in a task of its own ─────┴─▶ answer
//! ```
//!
//! A cached answer is current if no commit came after it, or for [`REUSE_FACTOR`] times the time that
//! it took to read. So a cheap answer is read again after each commit, and an expensive one occupies
//! at most an eleventh of a core. No answer is reused for longer than `reuse_max` after it was read,
//! so an answer that takes `t`, longer than a tenth of that, occupies `t / (t + reuse_max)` of a core.
//! While a current answer is read, other clients receive the previous one within the same limit, and
//! so does the client that caused the read, if many ask for this answer. Each answer states its own
//! epoch.
//!
//! All answers become outdated at the same commit. Those that many clients ask for are read again at
//! different moments of the next [`SPREAD_MAX`]: otherwise all requests wait for a burst of reads
//! after each commit.
//!
//! The read runs in a task of its own, so a client that disconnects does not interrupt it for the
//! others. Memory is bounded by the bytes of the answers, compressed and not, and their questions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::hash::Hasher;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use moka::ops::compute::Op;
use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher13};
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::{Query, WithCoverage, read_consistent};
use crate::commit_ref::CommitRef;
use crate::compressed::CompressedData;
use crate::metrics::CacheMetrics;
use crate::problem::Problem;
use crate::request_id::RequestId;
use crate::state::ApiContext;

/// An answer is reused for this multiple of the time that it took to read it.
const REUSE_FACTOR: u32 = 10;
/// The reads of answers in demand are spread over this time after a commit. A tick of the log, which
/// causes a commit, comes each 50 ms.
const SPREAD_MAX: Duration = Duration::from_millis(20);
/// An answer is in demand if it was asked for this many times since it was read.
const IN_DEMAND_MIN: u32 = 5;
/// Maximum number of questions that are being answered at the same time.
const READS_MAX: usize = 1_024;
/// How long an answer stays in memory after it can no longer be reused.
const LIFETIME_EXTRA: Duration = Duration::from_secs(60);
/// Memory of a cached answer beside its text and its question, in bytes.
const OVERHEAD_BYTES: usize = 300;

/// The answer to one question.
#[derive(Debug)]
pub(crate) struct CachedAnswer {
    pub(crate) commit: CommitRef,
    /// Network time of the commit, and of the first event that was counted.
    pub(crate) time: Timestamp,
    pub(crate) since: Timestamp,
    /// Whether all rows belong to the commit.
    pub(crate) is_consistent: bool,
    /// The fields that only this route has: a JSON object.
    data: Box<str>,
    /// [`CachedAnswer::own_fields`], compressed for the first client that accepts it.
    compressed: OnceLock<CompressedData>,
    /// The question, which is the key in the cache.
    question: Arc<str>,
    /// Hash of `data`.
    pub(crate) tag: u128,
    /// When the read ended.
    read_at: Instant,
    took: Duration,
    /// How many requests it answered from the cache.
    asked: AtomicU32,
    /// When a request first found that a commit came after it.
    outdated_since: OnceLock<Instant>,
}

impl CachedAnswer {
    fn new<D: Serialize>(
        question: Arc<str>,
        committed: &Committed,
        data: &WithCoverage<D>,
        is_consistent: bool,
        started: Instant,
    ) -> Result<Self, Problem> {
        let data = data.json().map_err(|error| Problem::internal(&error))?;
        let mut hasher = SipHasher13::new();
        hasher.write(data.as_bytes());
        Ok(Self {
            commit: committed.into(),
            time: committed.time,
            since: committed.since,
            is_consistent,
            data: data.into(),
            compressed: OnceLock::new(),
            question,
            tag: hasher.finish128().as_u128(),
            read_at: Instant::now(),
            took: started.elapsed(),
            asked: AtomicU32::new(0),
            outdated_since: OnceLock::new(),
        })
    }

    /// The fields that only this route has, as a JSON object.
    pub(crate) fn object(&self) -> &str {
        &self.data
    }

    /// The fields that only this route has, without the brace before them.
    pub(crate) fn own_fields(&self) -> &str {
        self.data.strip_prefix('{').unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        let compressed = self.compressed.get().map_or(0, CompressedData::bytes);
        self.data.len() + compressed + OVERHEAD_BYTES
    }
}

/// The outcome of a read, for all who wait for it; `None` until it has one.
type Outcome = Option<Result<Arc<CachedAnswer>, Problem>>;

/// The answers of all routes. Clones share them.
#[derive(Clone)]
pub(crate) struct AnswerCache(Arc<Shared>);

struct Shared {
    answers: moka::sync::Cache<Arc<str>, Arc<CachedAnswer>>,
    reads: Mutex<BTreeMap<Arc<str>, watch::Receiver<Outcome>>>,
    reuse_max: Duration,
    metrics: CacheMetrics,
}

impl AnswerCache {
    /// Reuses answers for at most `reuse_ms_max`, and holds at most `bytes_max` bytes of them.
    pub(crate) fn new(bytes_max: u64, reuse_ms_max: u64, metrics: CacheMetrics) -> Self {
        let reuse_max = Duration::from_millis(reuse_ms_max);
        let answers = moka::sync::Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|question: &Arc<str>, answer: &Arc<CachedAnswer>| {
                u32::try_from(question.len() + answer.bytes()).unwrap_or(u32::MAX)
            })
            // Only frees memory: `reusable` decides what is too old.
            .time_to_live(reuse_max + LIFETIME_EXTRA)
            .build();
        Self(Arc::new(Shared {
            answers,
            reads: Mutex::default(),
            reuse_max,
            metrics,
        }))
    }

    /// The number of answers, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let answers = &self.0.answers;
        (answers.entry_count(), answers.weighted_size())
    }

    /// Drops all answers. Those that are being read are not affected.
    pub(crate) fn clear(&self) {
        self.0.answers.invalidate_all();
        self.0.answers.run_pending_tasks();
    }

    /// The answer to a query: a current one from the cache, or one that is read now.
    ///
    /// # Errors
    /// Those of the query; `busy` if too many other questions are being answered.
    pub(crate) async fn get<Q: Query + Debug + 'static>(
        &self,
        context: &ApiContext,
        query: Q,
    ) -> Result<Arc<CachedAnswer>, Problem> {
        let (_, newest) = context.committed().await?;
        let question: Arc<str> = format!("{}{query:?}", std::any::type_name::<Q>()).into();
        let cached = self.0.reusable(&question);
        if let Some(cached) = cached.as_ref().filter(|it| it.is_current(&newest)) {
            self.0.metrics.hits.inc();
            return Ok(cached.clone());
        }
        let mut outcome = match (self.0.join_or_start(&question), cached) {
            (Ok(Read::Joined(_)) | Err(_), Some(cached)) => {
                self.0.metrics.stale.inc();
                return Ok(cached);
            }
            (Err(busy), None) => return Err(busy),
            (Ok(Read::Joined(outcome)), None) => {
                self.0.metrics.joined.inc();
                outcome
            }
            (Ok(Read::Started(sender, outcome)), cached) => {
                self.0.metrics.reads.inc();
                let (shared, context) = (self.0.clone(), context.clone());
                let running = ReadGuard { shared, question };
                tokio::spawn(RequestId::current().scope(async move {
                    let answer = read(&context, &query, &running.question).await;
                    running.finish(&answer);
                    sender.send_replace(Some(answer));
                }));
                if let Some(cached) = cached.filter(|it| it.is_in_demand()) {
                    self.0.metrics.stale.inc();
                    return Ok(cached);
                }
                outcome
            }
        };
        let finished = outcome.wait_for(Option::is_some).await;
        match finished.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            _ => Err(Problem::unavailable(
                "interrupted",
                "the answer could not be read",
            )),
        }
    }

    /// The compressed [`CachedAnswer::own_fields`]. They are compressed once for all clients.
    pub(crate) fn compressed<'a>(&self, answer: &'a Arc<CachedAnswer>) -> &'a CompressedData {
        let mut is_new = false;
        let compressed = answer.compressed.get_or_init(|| {
            is_new = true;
            CompressedData::new(answer.own_fields())
        });
        if is_new {
            self.0.weigh_again(answer);
        }
        compressed
    }
}

impl CachedAnswer {
    fn is_current(&self, newest: &Committed) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.commit == newest.into()
            || self.read_at.elapsed() <= self.took * REUSE_FACTOR
            || (self.is_in_demand() && self.is_before_its_turn())
    }

    /// Whether many requests have asked for it since it was read.
    fn is_in_demand(&self) -> bool {
        self.asked.load(Ordering::Relaxed) >= IN_DEMAND_MIN
    }

    /// Whether the moment at which this answer is read again is still to come. The moments of
    /// answers with different content are evenly distributed.
    fn is_before_its_turn(&self) -> bool {
        let outdated_since = self.outdated_since.get_or_init(Instant::now);
        let micros = self.tag % SPREAD_MAX.as_micros();
        outdated_since.elapsed() < Duration::from_micros(micros as u64)
    }
}

/// Reads an answer. A panic fails this read only, and a store that does not answer is not waited for
/// longer than any client would wait.
async fn read<Q: Query>(
    context: &ApiContext,
    query: &Q,
    question: &Arc<str>,
) -> Result<Arc<CachedAnswer>, Problem> {
    let time_max = Duration::from_millis(context.limits.request_ms_max);
    let reading = AssertUnwindSafe(read_unguarded(context, query, question)).catch_unwind();
    match tokio::time::timeout(time_max, reading).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(Problem::panicked(&*panic)),
        Err(_) => Err(Problem::too_slow()),
    }
}

async fn read_unguarded<Q: Query>(
    context: &ApiContext,
    query: &Q,
    question: &Arc<str>,
) -> Result<Arc<CachedAnswer>, Problem> {
    let started = Instant::now();
    let (committed, answer) = read_consistent(context, query).await?;
    let is_consistent = answer.meta.consistent;
    let question = question.clone();
    let answer = CachedAnswer::new(question, &committed, &answer.data, is_consistent, started)?;
    Ok(Arc::new(answer))
}

/// How a client gets the answer to a question that no current answer is cached for.
enum Read {
    /// The answer is being read for another client.
    Joined(watch::Receiver<Outcome>),
    /// This client starts the read.
    Started(watch::Sender<Outcome>, watch::Receiver<Outcome>),
}

impl Shared {
    /// The cached answer, if it is not too old to be shown.
    fn reusable(&self, question: &Arc<str>) -> Option<Arc<CachedAnswer>> {
        let cached = self.answers.get(question)?;
        (cached.read_at.elapsed() < self.reuse_max).then_some(cached)
    }

    /// Updates the weight of a cached answer after it was compressed, unless a newer answer to its
    /// question has replaced it.
    fn weigh_again(&self, answer: &Arc<CachedAnswer>) {
        let entry = self.answers.entry(answer.question.clone());
        entry.and_compute_with(|cached| match cached {
            Some(cached) if Arc::ptr_eq(cached.value(), answer) => Op::Put(answer.clone()),
            _ => Op::Nop,
        });
        self.note_bytes();
    }

    fn note_bytes(&self) {
        let bytes = self.answers.weighted_size();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.bytes.set(bytes);
    }

    fn join_or_start(&self, question: &Arc<str>) -> Result<Read, Problem> {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = reads.len();
        match reads.entry(question.clone()) {
            Entry::Occupied(read) => Ok(Read::Joined(read.get().clone())),
            Entry::Vacant(_) if reading >= READS_MAX => {
                self.metrics.refused.inc();
                let detail = "too many different questions are being answered: try again";
                Err(Problem::unavailable("busy", detail))
            }
            Entry::Vacant(free) => {
                let (sender, outcome) = watch::channel(None);
                free.insert(outcome.clone());
                Ok(Read::Started(sender, outcome))
            }
        }
    }
}

/// A drop guard: a read that ends, in whatever way, no longer counts as running.
struct ReadGuard {
    shared: Arc<Shared>,
    question: Arc<str>,
}

impl ReadGuard {
    /// Caches the answer. An inconsistent answer is only for those who wait for it.
    fn finish(self, answer: &Result<Arc<CachedAnswer>, Problem>) {
        if let Ok(answer) = answer
            && answer.is_consistent
            && !self.shared.reuse_max.is_zero()
        {
            let answers = &self.shared.answers;
            answers.insert(self.question.clone(), answer.clone());
            self.shared.note_bytes();
        }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        let reads = &self.shared.reads;
        let mut reads = reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.remove(&self.question);
    }
}
