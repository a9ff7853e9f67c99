//! `/dataflow`: the page of the running dataflow. Like the start page, it loads nothing from other
//! hosts, and uses only the public API.

use axum::extract::Path;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use crate::middleware::not_found;
use crate::routes::start::file;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /dataflow`
pub(crate) async fn page() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("../dataflow/index.html"),
    )
}

/// `GET /assets/dataflow/{name}`
pub(crate) async fn asset(Path(name): Path<String>, uri: Uri) -> Response {
    match name.as_str() {
        "style.css" => file(
            "text/css; charset=utf-8",
            include_str!("../dataflow/style.css"),
        ),
        "page.js" => file(JAVASCRIPT, include_str!("../dataflow/page.js")),
        "graph.js" => file(JAVASCRIPT, include_str!("../dataflow/graph.js")),
        "layout.js" => file(JAVASCRIPT, include_str!("../dataflow/layout.js")),
        "tables.js" => file(JAVASCRIPT, include_str!("../dataflow/tables.js")),
        "format.js" => file(JAVASCRIPT, include_str!("../dataflow/format.js")),
        _ => not_found(uri).await.into_response(),
    }
}
