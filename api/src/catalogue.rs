//! The catalogue of routes and their parameters. Requests are checked against it, and
//! `openapi.json` is generated from it.

use axum::http::Method;

use crate::cursor::Cursor;
pub use crate::route::COST_MAX;
pub(crate) use crate::route::{
    ADMIN_PREFIX, LIST_COST, MANY_ROWS_COST, Param, ParamIn, Route, RouteAccess, Verb,
};
use crate::route::{JSON, admin, path, plain, query, read};

/// The route of a request: that of the matched path with the method, else any of the path.
pub(crate) fn find(matched_path: &str, method: &Method) -> Option<&'static Route> {
    let mut of_path = ROUTES
        .iter()
        .copied()
        .filter(|route| route.path == matched_path);
    let first = of_path.next()?;
    match first.method.accepts(method) {
        true => Some(first),
        false => of_path
            .find(|route| route.method.accepts(method))
            .or(Some(first)),
    }
}

/// The methods of a path, as the header `Allow` lists them. Files of the start page are not in the
/// catalogue.
pub(crate) fn allowed_methods(matched_path: &str) -> String {
    let of_path = ROUTES.iter().filter(|route| route.path == matched_path);
    let names: Vec<&str> = of_path.map(|route| route.method.allow()).collect();
    match names.is_empty() {
        true => Verb::Get.allow().to_owned(),
        false => names.join(", "),
    }
}

impl Route {
    /// What a request with this query costs. A list of the past is named by `as_of`, or by a cursor
    /// that carries it.
    pub(crate) fn cost_of(&self, query: Option<&str>) -> u32 {
        let reads_snapshot = |query: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.any(|(name, value)| match &*name {
                "as_of" => !value.is_empty(),
                "cursor" => Cursor::decode(&value).is_ok_and(|cursor| cursor.as_of.is_some()),
                _ => false,
            })
        };
        match self.path == TRENDS.path && query.is_some_and(reads_snapshot) {
            true => MANY_ROWS_COST,
            false => self.cost,
        }
    }
}

const WINDOWS: &[&str] = &["1h", "24h", "7d", "all"];
const VIEWS: &[&str] = &[
    "posts",
    "hashtags",
    "domains",
    "links",
    "mentions",
    "actors",
    "blocks",
    "interactions",
];

const LANG: Param = query(
    "lang",
    "",
    "Language of the posts, such as `en`; `pt-BR` counts as `pt`; `und`: posts that name none",
);
const LIMIT: Param = query("limit", "25", "Maximum number of entries, 1 to 100");
const ACTOR: Param = path("actor", "A DID, or a handle with or without `@`");

/// The route of the top lists.
pub(crate) const TRENDS: Route = Route {
    path: "/v1/trends/{view}",
    id: "trends",
    summary: "A list, best first, in a window, of all languages or of one",
    params: &[
        Param {
            allowed: VIEWS,
            ..path("view", "The list; the prefix `top_` is accepted")
        },
        Param {
            allowed: WINDOWS,
            ..query(
                "window",
                "24h",
                "The time window; actors, blocks and interactions have only `24h`",
            )
        },
        LANG,
        query(
            "measure",
            "likes, count, likes_received, blocks_received or likes_from_others",
            "Orders the list, see `/v1/views`; `velocity` reorders the list of highest count",
        ),
        LIMIT,
        query(
            "cursor",
            "",
            "The `cursor` of the previous page; it carries all other parameters",
        ),
        query(
            "as_of",
            "now",
            "A time such as `2026-07-04T14:00:00Z`; the newest snapshot that is not later answers",
        ),
    ],
    media: JSON,
    schema: "Trends",
    problems: &[400, 404, 503],
    ..read(LIST_COST)
};

/// The route of the counts of one tag, domain, link or mentioned account.
pub(crate) const TREND: Route = Route {
    path: "/v1/trends/{view}/{*key}",
    id: "trend",
    summary: "Counts of any hashtag, domain, link or mentioned account, by window and language",
    params: &[
        Param {
            allowed: &["hashtags", "domains", "links", "mentions"],
            ..path("view", "The view")
        },
        path(
            "key",
            "Tag (with or without `#`), host, URL (percent-encoded) or DID; if unused: zeros",
        ),
    ],
    media: JSON,
    schema: "Trend",
    problems: &[400, 404, 503],
    ..read(1)
};

/// The route of one post.
pub(crate) const POST: Route = Route {
    path: "/v1/posts/{*uri}",
    id: "post",
    summary: "Tallies of a post",
    params: &[path(
        "uri",
        "`at://` URI or `https://bsky.app/profile/.../post/...` link, percent-encoded or not",
    )],
    media: JSON,
    schema: "Post",
    problems: &[400, 404, 503],
    ..read(1)
};

/// The route of one account.
pub(crate) const ACTOR_ROUTE: Route = Route {
    path: "/v1/actors/{actor}",
    id: "actor",
    summary: "An account as the events describe it, its profile, and its counts over all time",
    params: &[ACTOR],
    media: JSON,
    schema: "Actor",
    problems: &[400, 404, 503],
    ..read(1)
};

/// The route of the accounts with which an account interacts.
pub(crate) const INTERACTIONS: Route = Route {
    path: "/v1/actors/{actor}/interactions",
    id: "interactions",
    summary: "The accounts with which an account interacted most",
    params: &[
        ACTOR,
        Param {
            allowed: &["sent", "received"],
            ..query(
                "direction",
                "sent",
                "`sent`: the account acted on others; `received`: others acted on it",
            )
        },
        query("days", "7", "Number of days in UTC, today included, 1 to 7"),
        LIMIT,
    ],
    media: JSON,
    schema: "Interactions",
    problems: &[400, 404, 503],
    ..read(MANY_ROWS_COST)
};

/// The route of the activity of the whole network.
pub(crate) const NETWORK: Route = Route {
    path: "/v1/network",
    id: "network",
    summary: "Activity by collection, rates, languages, drops, series by minute and hour",
    params: &[
        query(
            "limit",
            "20",
            "Maximum number of collections and of languages, 1 to 100",
        ),
        Param {
            allowed: WINDOWS,
            ..query("window", "24h", "The time window of the languages")
        },
        query(
            "hours",
            "24",
            "Length of the hourly series in hours, 1 to 1440",
        ),
    ],
    media: JSON,
    schema: "Network",
    problems: &[400, 503],
    ..read(MANY_ROWS_COST)
};

/// The route of the catalogue of views.
pub(crate) const VIEWS_ROUTE: Route = Route {
    path: "/v1/views",
    id: "views",
    summary: "The views with their measures, windows and numbers of rows",
    params: &[],
    media: JSON,
    schema: "Views",
    problems: &[503],
    ..read(LIST_COST)
};

/// The route of the stored snapshots.
pub(crate) const SNAPSHOTS: Route = Route {
    path: "/v1/snapshots",
    id: "snapshots",
    summary: "The times of the stored snapshots, newest first: values of `as_of`",
    params: &[
        query("limit", "100", "Maximum number of snapshots, 1 to 1000"),
        query("cursor", "", "The `cursor` of the previous page"),
    ],
    media: JSON,
    schema: "Snapshots",
    problems: &[400, 503],
    ..read(LIST_COST)
};

/// The route of the running dataflow.
pub(crate) const DATAFLOW: Route = Route {
    path: "/v1/dataflow",
    id: "dataflow",
    summary: "The running dataflow: its operators, what each did, and the channels between them",
    params: &[],
    media: JSON,
    schema: "Dataflow",
    problems: &[400, 503],
    ..read(LIST_COST)
};

/// The route of the states of the jobs.
pub(crate) const JOBS: Route = Route {
    path: "/v1/jobs",
    id: "jobs",
    summary: "The periodic jobs: when each is due, whether it runs, and the result of its last run",
    params: &[],
    media: JSON,
    schema: "Jobs",
    problems: &[400, 503],
    ..read(1)
};

/// The route of the list of keys.
pub(crate) const ADMIN_KEYS: Route = Route {
    path: "/v1/admin/keys",
    id: "keys",
    summary: "The keys of the API, without their secrets",
    schema: "Keys",
    problems: &[400, 503],
    ..admin(Verb::Get)
};

/// The route that revokes a key.
pub(crate) const ADMIN_KEY: Route = Route {
    path: "/v1/admin/keys/{id}",
    id: "revoke_key",
    summary: "Revokes a key; every process refuses it within five seconds",
    params: &[path("id", "The id of the key")],
    schema: "Key",
    problems: &[400, 404, 503],
    ..admin(Verb::Delete)
};

/// The route that runs a job.
pub(crate) const ADMIN_JOB_RUN: Route = Route {
    path: "/v1/admin/jobs/{name}/run",
    id: "run_job",
    summary: "Runs a job now, and waits for its end, for at most 5 seconds",
    params: &[path("name", "The name of the job, such as `snapshot`")],
    schema: "JobRun",
    problems: &[400, 404, 409, 501, 503],
    ..admin(Verb::Post)
};

/// The route of the event stream.
pub(crate) const STREAM: Route = Route {
    path: "/v1/stream",
    id: "stream",
    summary: "Server-sent events: one `commit` event for the newest commit, at most two a second",
    params: &[
        query(
            "lists",
            "",
            "Comma-separated lists for each event, at most 4: views of `/v1/trends/{view}`",
        ),
        Param {
            allowed: WINDOWS,
            ..query("window", "24h", "The time window")
        },
        LANG,
        query(
            "limit",
            "10",
            "Maximum number of entries of each list, 1 to 100",
        ),
    ],
    media: "text/event-stream",
    schema: "",
    problems: &[400, 503],
    access: RouteAccess::Live,
    ..read(MANY_ROWS_COST)
};

/// The start of the paths of the routes in the contract of another API, which has its own errors.
pub(crate) const ORIGINAL_PREFIX: &str = "/original";

/// The route of the top lists in the contract of the original.
pub(crate) const ORIGINAL_TOP: Route = Route {
    summary: "All top lists of accounts by interactions or by blocks, without acts on oneself",
    params: &[Param {
        allowed: &["top_interactions", "top_blocks"],
        ..path("name", "The lists")
    }],
    schema: "OriginalTop",
    problems: &[401, 403, 422, 503],
    access: RouteAccess::Own,
    cost: MANY_ROWS_COST,
    ..plain("/original/dd/{name}", "original_top", JSON)
};

/// The route of an account's interactions in the contract of the original.
pub(crate) const ORIGINAL_INTERACTIONS: Route = Route {
    summary: "With whom an account interacted in 7 days, sent and received",
    schema: "OriginalInteractions",
    problems: &[400, 401, 403, 413, 422, 503],
    method: Verb::Post,
    access: RouteAccess::Own,
    cost: MANY_ROWS_COST,
    ..plain("/original/interactions", "original_interactions", JSON)
};

/// The route of the numbers of live records in the contract of the original.
pub(crate) const ORIGINAL_COUNTS: Route = Route {
    summary: "Numbers of live records by collection",
    schema: "OriginalCounts",
    problems: &[503],
    cost: LIST_COST,
    ..plain("/original/collStats", "original_counts", JSON)
};

/// The liveness check: whether the process runs.
pub(crate) const HEALTHZ: Route = Route {
    summary: "Answers while the process runs",
    schema: "Alive",
    cost: 0,
    ..plain("/healthz", "alive", JSON)
};

/// The readiness check: whether the process can answer requests.
pub(crate) const READYZ: Route = Route {
    summary: "Whether the API can answer requests; if not, 503 with the reasons",
    schema: "Ready",
    cost: 0,
    ..plain("/readyz", "ready", JSON)
};

/// The route of the metrics of the process.
pub(crate) const METRICS: Route = Route {
    summary: "Metrics of the process for Prometheus; as OpenMetrics if `Accept` prefers it",
    cost: 0,
    problems: &[404],
    ..plain("/metrics", "metrics", "text/plain")
};

/// The route of the OpenAPI description.
pub(crate) const OPENAPI: Route = Route {
    summary: "This description",
    ..plain("/openapi.json", "openapi", JSON)
};

/// The route of the start page.
pub(crate) const START: Route = Route {
    summary: "The start page, which uses only this API",
    ..plain("/", "start", "text/html")
};

/// The route of the page of the running dataflow.
pub(crate) const DATAFLOW_PAGE: Route = Route {
    summary: "The page of the running dataflow, which uses only this API",
    ..plain("/dataflow", "dataflow_page", "text/html")
};

/// All routes that `openapi.json` describes.
pub(crate) const ROUTES: &[&Route] = &[
    &TRENDS,
    &TREND,
    &POST,
    &ACTOR_ROUTE,
    &INTERACTIONS,
    &NETWORK,
    &VIEWS_ROUTE,
    &SNAPSHOTS,
    &DATAFLOW,
    &JOBS,
    &STREAM,
    &HEALTHZ,
    &READYZ,
    &METRICS,
    &OPENAPI,
    &START,
    &DATAFLOW_PAGE,
    &ADMIN_KEYS,
    &ADMIN_KEY,
    &ADMIN_JOB_RUN,
    &ORIGINAL_TOP,
    &ORIGINAL_INTERACTIONS,
    &ORIGINAL_COUNTS,
];
