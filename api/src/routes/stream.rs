//! `/v1/stream`: server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! ```text
//! every 500 ms: a newer commit? ─ no ─▶ (a comment every 15 s keeps proxies from closing)
//!                    └─ yes ─▶ rates and the chosen lists of that commit ─▶ event `commit`, id = epoch
//! ```
//!
//! Each event is whole, so a client that was away misses nothing by reading on: there is no replay. Before the first
//! commit an event `waiting` says what is waited for. A slow client skips commits: its connection holds a bounded number
//! of bytes, and ends when the client reads none of them for a while (`crate::server`).
//! Lists that clients share are read once a commit ([`Shared`]). How many clients there are: [`Clients`].

mod clients;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use skytide_core::id::Epoch;
use tokio::time::MissedTickBehavior;

use self::clients::{Client, Clients};
use super::entries::Page;
use super::health::Ready;
use super::lists::ListView;
use super::series::Rates;
use super::trends::Trends;
use crate::answer::{Query, Rows, consistent};
use crate::catalogue::STREAM;
use crate::params::Params;
use crate::problem::Problem;
use crate::server::Peer;
use crate::state::ApiState;

const PAUSE: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const LISTS_MAX: usize = 4;
/// Different questions whose newest answer is kept for the next client.
const SHARED_MAX: usize = 64;

/// `GET /v1/stream`
pub(crate) async fn show(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &STREAM)?;
    let chosen = Chosen::parse(&params)?;
    let client = enter(&state, peer.map(|Extension(peer)| peer))?;
    let stopped = state.stop.clone().cancelled_owned();
    let replaced = client.replaced.clone().cancelled_owned();
    let mut pace = tokio::time::interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let push = Push {
        state,
        chosen,
        sent: None,
        client,
        pace,
    };
    let events = stream::unfold(push, Push::next)
        .take_until(stopped)
        .take_until(replaced);
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let unbuffered = [
        ("x-accel-buffering", "no"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
    ];
    Ok((unbuffered, events).into_response())
}

/// A place among the streams.
fn enter(state: &ApiState, peer: Option<Peer>) -> Result<Client, Problem> {
    let clients = &state.streams.clients;
    let open = state.metrics.stream_clients.clone();
    let entered = clients.enter(state.limits.stream_clients_max, peer, open);
    let entered = entered.ok_or_else(|| {
        let detail = "too many event streams are open";
        Problem::unavailable("streams_full", detail)
    })?;
    if entered.replaces {
        state.metrics.streams_replaced.inc();
    }
    Ok(entered.client)
}

/// What a client wants to see.
struct Chosen {
    /// The question in one form: clients with the same one share its answer.
    shared_as: String,
    lists: Vec<(&'static str, Trends)>,
}

impl Chosen {
    fn parse(params: &Params) -> Result<Self, Problem> {
        let names = params.text("lists").unwrap_or("");
        let named: Vec<&str> = names
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .collect();
        if named.len() > LISTS_MAX {
            let detail = format!("at most {LISTS_MAX} lists at once");
            return Err(Problem::parameter("lists", names, detail));
        }
        let mut lists = Vec::new();
        for name in named {
            let view = ListView::named(name)?;
            let asked = if view.windows.len() > 1 {
                params
            } else {
                &Params::default()
            };
            lists.push((
                view.name,
                Trends::parse(view, asked, 10)?.with_limit(params)?,
            ));
        }
        Ok(Self {
            shared_as: format!("{lists:?}"),
            lists,
        })
    }
}

/// A commit, as an event.
#[derive(Serialize)]
struct Commit {
    rates: Rates,
    lists: BTreeMap<&'static str, Page>,
}

impl Query for Chosen {
    type Data = Commit;

    async fn read(&self, rows: &Rows<'_>) -> Result<Commit, Problem> {
        let mut lists = BTreeMap::new();
        for (name, list) in &self.lists {
            lists.insert(*name, list.read(rows).await?);
        }
        Ok(Commit {
            rates: Rates::read(rows).await?,
            lists,
        })
    }
}

/// What the streams of a server have in common.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    clients: Arc<Clients>,
    shared: Shared,
}

/// Answers that clients of the same question share.
#[derive(Debug, Default)]
struct Shared(Mutex<BTreeMap<String, (Epoch, Arc<str>)>>);

impl Shared {
    fn get(&self, question: &str, epoch: Epoch) -> Option<Arc<str>> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = shared.get(question)?;
        (*at == epoch).then(|| answer.clone())
    }

    fn put(&self, question: &str, epoch: Epoch, answer: &Arc<str>) {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.len() >= SHARED_MAX {
            shared.retain(|_, (at, _)| *at >= epoch);
        }
        if shared.len() < SHARED_MAX {
            shared.insert(question.to_owned(), (epoch, answer.clone()));
        }
    }
}

/// The state of one client's stream.
struct Push {
    state: ApiState,
    chosen: Chosen,
    sent: Option<Sent>,
    #[expect(
        dead_code,
        reason = "holds the client's place until the stream is dropped"
    )]
    client: Client,
    pace: tokio::time::Interval,
}

/// What the client was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Waiting,
    Commit(Epoch),
}

impl Push {
    /// The next event, as soon as there is one to tell.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            self.pace.tick().await;
            if let Some(event) = self.news().await {
                return Some((Ok(event), self));
            }
        }
    }

    async fn news(&mut self) -> Option<Event> {
        match self.state.committed().await {
            Ok((_, newest)) if self.sent == Some(Sent::Commit(newest.epoch)) => None,
            Ok((_, newest)) => {
                let (epoch, text) = self.commit(newest.epoch).await.ok()?;
                self.sent = Some(Sent::Commit(epoch));
                Some(
                    Event::default()
                        .event("commit")
                        .id(epoch.to_string())
                        .data(&*text),
                )
            }
            Err(_) if self.sent == Some(Sent::Waiting) => None,
            Err(_) => {
                self.sent = Some(Sent::Waiting);
                let ready = Ready::read(&self.state).await;
                let text = serde_json::to_string(&ready).ok()?;
                Some(Event::default().event("waiting").data(text))
            }
        }
    }

    async fn commit(&self, newest: Epoch) -> Result<(Epoch, Arc<str>), Problem> {
        let streams = &self.state.streams;
        if let Some(text) = streams.shared.get(&self.chosen.shared_as, newest) {
            return Ok((newest, text));
        }
        let (committed, answer) = consistent(&self.state, &self.chosen).await?;
        let text = serde_json::to_string(&answer).map_err(|error| Problem::internal(&error))?;
        let text: Arc<str> = text.into();
        streams
            .shared
            .put(&self.chosen.shared_as, committed.epoch, &text);
        Ok((committed.epoch, text))
    }
}
