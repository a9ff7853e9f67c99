//! `/`: the start page. Its files are embedded in the binary. It loads nothing from other hosts,
//! and uses only the public API.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The Content Security Policy: the page may load, run and request only files of this server, and
/// no page may frame it.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`
pub(crate) async fn page() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("../start/index.html"),
    )
}

/// `GET /assets/style.css`
pub(crate) async fn style() -> Response {
    file(
        "text/css; charset=utf-8",
        include_str!("../start/style.css"),
    )
}

/// `GET /assets/app.js`
pub(crate) async fn script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../start/app.js"),
    )
}

/// `GET /assets/rows.js`
pub(crate) async fn rows() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../start/rows.js"),
    )
}

/// `GET /assets/stream.js`
pub(crate) async fn stream() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../start/stream.js"),
    )
}

/// A file that is embedded in the binary, with the policy of the pages.
pub(crate) fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
