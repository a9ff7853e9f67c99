//! `/`: the start page. Three files in the binary, nothing from elsewhere; it uses only the public API.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Nothing but our own files may run, load or be asked; nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
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

fn file(form: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, form),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
