//! The port: HTTP/1.1 with upgrades, each connection on its own.

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

use super::net::Net;
use super::{problem, profiles, relay, repos};

/// Every address.
pub(super) fn router(net: Arc<Net>) -> Router {
    let guard = axum::middleware::from_fn_with_state(net.clone(), profiles::guard);
    let appview = Router::new()
        .route("/xrpc/app.bsky.actor.getProfiles", get(profiles::profiles))
        .route("/xrpc/app.bsky.actor.getProfile", get(profiles::one))
        .layer(guard);
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
        .route(
            "/xrpc/com.atproto.identity.resolveHandle",
            get(repos::resolve_handle),
        )
        .route("/xrpc/_health", get(health))
        .route("/.well-known/atproto-did", get(repos::well_known))
        .route("/img/avatar/plain/{did}/{cid}", get(profiles::picture))
        .route("/_simnet/state", get(state))
        .route("/{did}", get(repos::document))
        .merge(appview)
        .fallback(problem::nowhere)
        .with_state(net)
}

async fn state(
    axum::extract::State(net): axum::extract::State<Arc<Net>>,
) -> axum::Json<super::State> {
    axum::Json(net.state())
}

async fn health() -> axum::Json<serde_json::Value> {
    let version = concat!("skytide-simnet ", env!("CARGO_PKG_VERSION"));
    axum::Json(serde_json::json!({ "version": version }))
}

/// Accepts and serves until the server stops.
pub(super) async fn serve(listener: TcpListener, net: Arc<Net>) {
    let router = router(net.clone());
    loop {
        let accepted = net.stop.run_until_cancelled(listener.accept()).await;
        match accepted {
            None => return,
            Some(Ok((stream, _))) => {
                tokio::spawn(connection(stream, router.clone(), net.clone()));
            }
            Some(Err(error)) => {
                // Out of descriptors, most likely: others may end meanwhile.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, net: Arc<Net>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
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
    if let Some(Err(error)) = net.stop.run_until_cancelled(serving).await {
        tracing::debug!(%error, "a request ended early");
    }
}
