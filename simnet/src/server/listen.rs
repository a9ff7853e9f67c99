//! The port: HTTP/1.1 with upgrades, one task for each connection.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use super::shared::Shared;
use super::{answers, problem, profiles, relay, repos};

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let guard = axum::middleware::from_fn_with_state(shared.clone(), profiles::guard);
    let spoil = axum::middleware::from_fn_with_state(shared.clone(), answers::spoil);
    let appview = Router::new()
        .route("/xrpc/app.bsky.actor.getProfiles", get(profiles::profiles))
        .route(
            "/xrpc/app.bsky.actor.getProfile",
            get(profiles::single_profile),
        )
        .route(
            "/xrpc/app.bsky.actor.searchActorsTypeahead",
            get(profiles::typeahead),
        )
        .layer(spoil.clone())
        .layer(guard);
    let identities = Router::new()
        .route(
            "/xrpc/com.atproto.identity.resolveHandle",
            get(repos::resolve_handle),
        )
        .route("/.well-known/atproto-did", get(repos::well_known))
        .route("/.well-known/did.json", get(repos::web_document))
        .route("/{did}", get(repos::document))
        .layer(spoil);
    Router::new()
        .route(
            "/xrpc/com.atproto.sync.subscribeRepos",
            get(relay::subscribe),
        )
        .route("/xrpc/com.atproto.sync.getRepo", get(repos::repo))
        .route(
            "/xrpc/com.atproto.sync.getLatestCommit",
            get(repos::latest_commit),
        )
        .route("/xrpc/com.atproto.sync.getRepoStatus", get(repos::status))
        .route("/xrpc/com.atproto.sync.listRepos", get(repos::list))
        .route("/xrpc/_health", get(health))
        .route("/img/avatar/plain/{did}/{cid}", get(profiles::picture))
        .route("/_simnet/state", get(state))
        .merge(identities)
        .merge(appview)
        .fallback(problem::not_found)
        .with_state(shared)
}

async fn state(
    axum::extract::State(shared): axum::extract::State<Arc<Shared>>,
) -> axum::Json<super::State> {
    axum::Json(shared.state())
}

async fn health() -> axum::Json<serde_json::Value> {
    let version = concat!("skytide-simnet ", env!("CARGO_PKG_VERSION"));
    axum::Json(serde_json::json!({ "version": version }))
}

/// Accepts and serves connections until the server stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = router(shared.clone());
    loop {
        let accepted = shared.stop.run_until_cancelled(listener.accept()).await;
        match accepted {
            None => return,
            Some(Ok((stream, _))) => {
                tokio::spawn(connection(stream, router.clone(), shared.clone()));
            }
            Some(Err(error)) => {
                // Most likely the process is out of file descriptors; other connections may end
                // meanwhile.
                tracing::warn!(%error, "cannot accept a connection; retrying");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Some(Err(error)) = shared.stop.run_until_cancelled(serving).await {
        tracing::debug!(%error, "a request ended early");
    }
}
