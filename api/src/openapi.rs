//! `/openapi.json`: generated from the catalogue of routes and the schemas of the answers. The file
//! is checked in; a test compares it with [`describe`].

use std::collections::BTreeSet;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::catalogue::{
    ACTOR_ROUTE, ADMIN_JOB_RUN, INTERACTIONS, NETWORK, ORIGINAL_INTERACTIONS, ORIGINAL_PREFIX,
    POST, Param, ParamIn, ROUTES, Route, RouteAccess, TREND, TRENDS, VIEWS_ROUTE,
};

/// The routes whose answers have an entity tag (`Answers::respond`), so that a client may get 304.
const REVALIDATED: [&Route; 7] = [
    &TRENDS,
    &TREND,
    &POST,
    &ACTOR_ROUTE,
    &INTERACTIONS,
    &NETWORK,
    &VIEWS_ROUTE,
];

/// `GET /openapi.json`
pub(crate) async fn show() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        include_str!("../openapi.json"),
    )
        .into_response()
}

/// Generates the OpenAPI description. `openapi.json` must be equal to it.
pub fn describe() -> Value {
    let schemas: Value =
        serde_json::from_str(include_str!("schemas.json")).expect("schemas.json is JSON");
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path.replace("{*", "{"));
        let operations = path.or_insert_with(|| json!({}));
        operations[route.method.name()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skytide",
            "description": "Exact live aggregates of the Bluesky network.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success(route));
    if REVALIDATED.iter().any(|it| it.id == route.id) {
        let unchanged = "The answer has not changed since the commit that If-None-Match names";
        responses.insert("304".to_owned(), json!({ "description": unchanged }));
    }
    if route.id == ADMIN_JOB_RUN.id {
        let mut continues = success(route);
        continues["description"] = json!("The run continues; /v1/jobs shows its result");
        responses.insert("202".to_owned(), continues);
    }
    for status in problems(route) {
        let (media, schema, meaning) = match route.path.starts_with(ORIGINAL_PREFIX) {
            true => (
                "application/json",
                "OriginalError",
                meaning_original(status),
            ),
            false => ("application/problem+json", "Problem", meaning(status)),
        };
        let problem = json!({ "$ref": format!("#/components/schemas/{schema}") });
        let content = json!({ media: { "schema": problem } });
        let described = json!({ "description": meaning, "content": content });
        responses.insert(status.to_string(), described);
    }
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": route.params.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
        "security": security(route.access),
    });
    if route.id == ORIGINAL_INTERACTIONS.id {
        let schema = json!({ "$ref": "#/components/schemas/OriginalInteractionsRequest" });
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The statuses of the problems of a route, with those of the check of key and rate limit.
fn problems(route: &Route) -> BTreeSet<u16> {
    let keyed: &[u16] = match route.access {
        RouteAccess::Public | RouteAccess::Own => &[],
        RouteAccess::Read | RouteAccess::Live | RouteAccess::Admin => &[401, 403, 503],
    };
    let limited: &[u16] = if route.cost > 0 { &[429] } else { &[] };
    let all = [route.problems, keyed, limited];
    all.into_iter().flatten().copied().collect()
}

/// The ways to send a key. `{}` means that a request without a key may be answered.
fn security(access: RouteAccess) -> Value {
    let (header, bearer) = (json!({ "key": [] }), json!({ "bearer": [] }));
    match access {
        RouteAccess::Public => json!([]),
        RouteAccess::Read | RouteAccess::Live => json!([{}, header, bearer]),
        RouteAccess::Admin => json!([header, bearer]),
        RouteAccess::Own => json!([header]),
    }
}

fn success(route: &Route) -> Value {
    let schema = match route.schema {
        "" => json!({ "type": "string" }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    };
    json!({ "description": route.summary, "content": { route.media: { "schema": schema } } })
}

fn parameter(param: &Param) -> Value {
    let mut schema = json!({ "type": "string" });
    if !param.allowed.is_empty() {
        schema["enum"] = json!(param.allowed);
    }
    if param.allowed.contains(&param.default) {
        schema["default"] = json!(param.default);
    }
    let default = match param.default {
        "" => String::new(),
        default => format!(". Default: {default}"),
    };
    json!({
        "name": param.name,
        "in": if param.location == ParamIn::Path { "path" } else { "query" },
        "required": param.location == ParamIn::Path,
        "description": format!("{}{default}", param.doc),
        "schema": schema,
    })
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "A parameter is unknown, or its value is not allowed",
        401 => "A key is needed, or the key is not valid",
        403 => "The key does not have the scope of this route",
        429 => "Too many requests: retry after Retry-After",
        404 => "The path or its target does not exist",
        409 => "The job already runs",
        501 => "This process runs no jobs",
        _ => "Nothing is counted yet, or the store cannot be read now: retry",
    }
}

/// What a status means under [`ORIGINAL_PREFIX`].
fn meaning_original(status: u16) -> &'static str {
    match status {
        400 => "There is no such account",
        401 => "The key in X-API-Key is not valid, or lacks the scope `read`",
        403 => "The request has no key in X-API-Key",
        413 => "The body is too large",
        422 => "The path or the body is not valid",
        _ => meaning(status),
    }
}
