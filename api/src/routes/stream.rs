//! `/v1/stream`: server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! ```text
//! every 500 ms: a newer commit? ─ no ─▶ (a comment every 15 s, so that proxies do not close)
//!                    └─ yes ─▶ rates and selected lists of that commit ─▶ event `commit`, id = epoch
//! ```
//!
//! Each event contains the whole lists, not changes. So a client that reconnects needs only the
//! next event, and missed events are not replayed. Before the first commit, one event `waiting`
//! gives the reasons. A slow client skips commits: its connection buffers a bounded number of
//! bytes, and is closed when the client reads none of them for a while (`crate::server`). The
//! answer to a selection is read once per commit and shared by all clients with the same selection
//! ([`AnswerCache`]). [`StreamSlots`] bounds the number of clients. A stream ends when its key is
//! revoked or expires, and when the keys cannot be read.

mod slots;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use skytide_core::id::Epoch;
use skytide_core::port::key::Scope;
use skytide_core::view::{ViewId, Window};
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::slots::{StreamSlot, StreamSlots};
use super::entries::ListPage;
use super::health::{CommitAge, Ready};
use super::lists::ListView;
use super::series::Rates;
use super::trends::ListQuery;
use crate::access::{Access, Caller};
use crate::answer::{Query, Rows, read_consistent};
use crate::catalogue::STREAM;
use crate::connection_state::Peer;
use crate::estimate::estimated;
use crate::health::Audience;
use crate::params::Params;
use crate::problem::Problem;
use crate::request_id::RequestId;
use crate::state::ApiContext;

/// Time between two checks for a newer commit.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time without an event after which a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Maximum number of lists that one client may select.
const LISTS_MAX: usize = 4;
/// Maximum number of selections whose newest answer is cached.
const CACHED_ANSWERS_MAX: usize = 64;

/// `GET /v1/stream`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    State(streams): State<StreamState>,
    State(commit_age): State<CommitAge>,
    State(access): State<Access>,
    request: Request,
) -> Result<Response, Problem> {
    let params = Params::parse(request.uri().query(), &STREAM)?;
    let selection = Selection::parse(&params)?;
    let sender = request.extensions();
    let slot = streams.acquire_slot(&context, sender.get::<Peer>().cloned())?;
    let caller = sender.get::<Caller>().cloned();
    let stopped = context.stop.clone().cancelled_owned();
    let evicted = slot.evicted.clone().cancelled_owned();
    let mut poll = interval(POLL_INTERVAL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let subscription = Subscription {
        context,
        commit_age,
        answers: streams.answers,
        access,
        caller: caller.unwrap_or(Caller::Anonymous),
        selection,
        last_event: None,
        slot,
        poll,
    };
    // The events are read after the handler has returned: their log lines have its id, too.
    let request = RequestId::current();
    let next = move |subscription: Subscription| request.clone().scope(subscription.next());
    let events = stream::unfold(subscription, next)
        .take_until(stopped)
        .take_until(evicted);
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let unbuffered = [
        ("x-accel-buffering", "no"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
    ];
    Ok((unbuffered, events).into_response())
}

/// What the streams of one server share. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamState {
    slots: Arc<StreamSlots>,
    answers: Arc<AnswerCache>,
}

impl StreamState {
    /// The number of cached answers, and their bytes.
    pub(crate) fn answers_size(&self) -> (u64, u64) {
        self.answers.size()
    }

    /// The number of open streams, and their estimated bytes without the buffers of their
    /// connections.
    pub(crate) fn slots_size(&self) -> (u64, u64) {
        estimated(self.slots.len() as u64, size_of::<Subscription>())
    }

    /// Acquires a slot for a new stream; evicts another stream for it if necessary.
    fn acquire_slot(
        &self,
        context: &ApiContext,
        peer: Option<Peer>,
    ) -> Result<StreamSlot, Problem> {
        let open = context.metrics.stream_clients.clone();
        let streams_max = context.limits.stream_clients_max;
        let acquired = self.slots.acquire(streams_max, peer, open);
        let acquired = acquired.ok_or_else(|| {
            let detail = "too many event streams are open";
            Problem::unavailable("streams_full", detail)
        })?;
        if acquired.evicted_another {
            context.metrics.streams_replaced.inc();
        }
        Ok(acquired.slot)
    }
}

/// The lists that a client selected.
struct Selection {
    /// A normalized form of the selection: clients with equal keys share the answer.
    cache_key: String,
    lists: Vec<(&'static str, ListQuery)>,
}

impl Selection {
    fn parse(params: &Params) -> Result<Self, Problem> {
        let names = params.text("lists").unwrap_or("");
        let selected: Vec<&str> = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if selected.len() > LISTS_MAX {
            let detail = format!("at most {LISTS_MAX} lists at once");
            return Err(Problem::parameter("lists", names, detail));
        }
        let mut lists = Vec::new();
        for name in selected {
            let view = ListView::by_name(name)?;
            // Lists with a single window have no languages either: both parameters are for the
            // other lists of the selection.
            let list_params = if view.windows.len() > 1 {
                params
            } else {
                &Params::default()
            };
            lists.push((
                view.name,
                ListQuery::parse(view, list_params, 10)?.with_limit(params)?,
            ));
        }
        Ok(Self {
            cache_key: format!("{lists:?}"),
            lists,
        })
    }
}

/// The data of a `commit` event.
#[derive(Serialize)]
struct Commit {
    /// Absent if the view `activity` is not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Rates>,
    /// Without the lists whose views are not computed.
    lists: BTreeMap<&'static str, ListPage>,
}

impl Query for Selection {
    type Data = Commit;

    fn window(&self) -> Option<Window> {
        let windows = self.lists.iter().filter_map(|(_, list)| list.window());
        // The rates are those of the last minutes.
        Some(
            windows
                .max_by_key(|window| *window as usize)
                .unwrap_or(Window::Hour),
        )
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<Commit, Problem> {
        let mut lists = BTreeMap::new();
        for (name, list) in &self.lists {
            // A view that is missing must not hold back the others.
            if list.is_computed(rows) {
                lists.insert(*name, list.stored(rows).await?);
            }
        }
        let rates = match rows.computes(ViewId::Activity) {
            true => Some(Rates::read(rows).await?),
            false => None,
        };
        Ok(Commit { rates, lists })
    }
}

/// The newest answer of each selection, by [`Selection::cache_key`].
#[derive(Debug, Default)]
struct AnswerCache(Mutex<BTreeMap<String, (Epoch, Arc<str>)>>);

impl AnswerCache {
    /// The number of answers, and their bytes.
    fn size(&self) -> (u64, u64) {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry_bytes = size_of::<(String, (Epoch, Arc<str>))>();
        let bytes = answers.iter();
        let bytes = bytes.map(|(key, (_, answer))| entry_bytes + key.capacity() + answer.len());
        (answers.len() as u64, bytes.sum::<usize>() as u64)
    }

    fn get(&self, key: &str, epoch: Epoch) -> Option<Arc<str>> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer_epoch, answer) = answers.get(key)?;
        (*answer_epoch == epoch).then(|| answer.clone())
    }

    /// Caches an answer. If the cache is full, answers of older epochs are evicted first; if it is
    /// still full, the answer is not cached.
    fn put(&self, key: &str, epoch: Epoch, answer: &Arc<str>) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= CACHED_ANSWERS_MAX {
            answers.retain(|_, (answer_epoch, _)| *answer_epoch >= epoch);
        }
        if answers.len() < CACHED_ANSWERS_MAX {
            answers.insert(key.to_owned(), (epoch, answer.clone()));
        }
    }
}

/// One client's stream.
struct Subscription {
    context: ApiContext,
    commit_age: CommitAge,
    answers: Arc<AnswerCache>,
    access: Access,
    caller: Caller,
    selection: Selection,
    last_event: Option<LastEvent>,
    #[expect(dead_code, reason = "a drop guard: releases the slot with the stream")]
    slot: StreamSlot,
    poll: Interval,
}

/// The event that was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastEvent {
    Waiting,
    Commit(Epoch),
}

impl Subscription {
    /// Waits for the next event; `None` if the key of the client no longer allows the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            self.poll.tick().await;
            if !self.access.still_allows(&self.caller, Scope::Live) {
                return None;
            }
            if let Some(event) = self.poll_event().await {
                return Some((Ok(event), self));
            }
        }
    }

    /// The next event; `None` if nothing is new, or the newest commit cannot be read now.
    async fn poll_event(&mut self) -> Option<Event> {
        match self.context.committed().await {
            Ok((_, newest)) if self.last_event == Some(LastEvent::Commit(newest.epoch)) => None,
            Ok((_, newest)) => {
                let (epoch, text) = self.answer(newest.epoch).await.ok()?;
                self.last_event = Some(LastEvent::Commit(epoch));
                Some(
                    Event::default()
                        .event("commit")
                        .id(epoch.to_string())
                        .data(&*text),
                )
            }
            Err(_) if self.last_event == Some(LastEvent::Waiting) => None,
            Err(_) => {
                self.last_event = Some(LastEvent::Waiting);
                let audience = Audience::of(Some(&self.caller));
                let ready =
                    Ready::read(&self.context, &self.commit_age, &self.access, audience).await;
                let text = serde_json::to_string(&ready).ok()?;
                Some(Event::default().event("waiting").data(text))
            }
        }
    }

    /// The answer for the newest commit and its epoch, from the cache or the store. A commit may
    /// come during the read, so the epoch may be newer than `newest`.
    async fn answer(&self, newest: Epoch) -> Result<(Epoch, Arc<str>), Problem> {
        let key = &self.selection.cache_key;
        if let Some(text) = self.answers.get(key, newest) {
            return Ok((newest, text));
        }
        let (committed, answer) = read_consistent(&self.context, &self.selection).await?;
        let text = serde_json::to_string(&answer).map_err(|error| Problem::internal(&error))?;
        let text: Arc<str> = text.into();
        self.answers.put(key, committed.epoch, &text);
        Ok((committed.epoch, text))
    }
}
