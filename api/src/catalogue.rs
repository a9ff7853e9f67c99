//! Every route with its parameters: one table, from which parameters are checked and `openapi.json` is written.

/// A route of the API.
#[derive(Debug)]
pub(crate) struct Route {
    /// The path, as in axum and (but for the `*`) OpenAPI.
    pub(crate) path: &'static str,
    /// A name for generated clients.
    pub(crate) id: &'static str,
    /// What it answers, in one sentence.
    pub(crate) summary: &'static str,
    /// Its parameters.
    pub(crate) params: &'static [Param],
    /// Media type of the answer.
    pub(crate) media: &'static str,
    /// Name of the answer's schema in `src/schemas.json`; empty: text.
    pub(crate) schema: &'static str,
    /// Statuses of problems that it may answer.
    pub(crate) problems: &'static [u16],
}

/// A parameter of a route.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) doc: &'static str,
    /// What it is if absent or empty.
    pub(crate) default: &'static str,
    /// The values there are; empty: described by `doc`.
    pub(crate) allowed: &'static [&'static str],
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
}

const fn path(name: &'static str, doc: &'static str) -> Param {
    Param {
        name,
        place: Place::Path,
        doc,
        default: "",
        allowed: &[],
    }
}

const fn query(name: &'static str, default: &'static str, doc: &'static str) -> Param {
    Param {
        name,
        place: Place::Query,
        doc,
        default,
        allowed: &[],
    }
}

const WINDOWS: &[&str] = &["1h", "24h", "7d", "all"];
const VIEWS: &[&str] = &[
    "posts", "hashtags", "domains", "links", "mentions", "actors", "blocks",
];

const LANG: Param = query(
    "lang",
    "",
    "Language of the posts, as `en`; of `pt-BR` the first part counts; `und`: they name none",
);
const LIMIT: Param = query("limit", "25", "Entries at most, 1 to 100");
const ACTOR: Param = path("actor", "A DID, or a handle with or without `@`");
const JSON: &str = "application/json";

/// The lists and their parameters.
pub(crate) const TRENDS: Route = Route {
    path: "/v1/trends/{view}",
    id: "trends",
    summary: "A list of the best, in a window, overall or in one language",
    params: &[
        Param {
            allowed: VIEWS,
            ..path("view", "Which list; `top_` in front is accepted")
        },
        Param {
            allowed: WINDOWS,
            ..query(
                "window",
                "24h",
                "Over which time; actors and blocks know only `24h`",
            )
        },
        LANG,
        query(
            "measure",
            "likes, count, likes_received or blocks_received",
            "Ordered by what, see `/v1/views`; `velocity` reorders the list of highest count",
        ),
        LIMIT,
        query(
            "cursor",
            "",
            "The `cursor` of the page before; it carries all other parameters",
        ),
        query(
            "as_of",
            "now",
            "A moment as `2026-07-04T14:00:00Z`: the list of the newest snapshot that is not later",
        ),
    ],
    media: JSON,
    schema: "Trends",
    problems: &[400, 404, 503],
};

/// One tag, domain, link or mentioned account.
pub(crate) const TREND: Route = Route {
    path: "/v1/trends/{view}/{*key}",
    id: "trend",
    summary: "Counts of any hashtag, domain, link or mentioned account, by window and language",
    params: &[
        Param {
            allowed: &["hashtags", "domains", "links", "mentions"],
            ..path("view", "Which view")
        },
        path(
            "key",
            "Tag (with or without `#`), host, URL (percent-encoded) or DID; unused: zeros",
        ),
    ],
    media: JSON,
    schema: "Trend",
    problems: &[400, 404, 503],
};

/// One post.
pub(crate) const POST: Route = Route {
    path: "/v1/posts/{*uri}",
    id: "post",
    summary: "Tallies of a post",
    params: &[path(
        "uri",
        "`at://` URI or `https://bsky.app/profile/.../post/...` link, percent-encoded or as it is",
    )],
    media: JSON,
    schema: "Post",
    problems: &[400, 404, 503],
};

/// One account.
pub(crate) const ACTOR_ROUTE: Route = Route {
    path: "/v1/actors/{actor}",
    id: "actor",
    summary: "What is known of an account, and its counts of all time",
    params: &[ACTOR],
    media: JSON,
    schema: "Actor",
    problems: &[400, 404, 503],
};

/// Whom an account acts on, and who acts on it.
pub(crate) const INTERACTIONS: Route = Route {
    path: "/v1/actors/{actor}/interactions",
    id: "interactions",
    summary: "The accounts with which an account had most to do",
    params: &[
        ACTOR,
        Param {
            allowed: &["sent", "received"],
            ..query(
                "direction",
                "sent",
                "What it did to others, or others to it",
            )
        },
        query(
            "days",
            "7",
            "Days of UTC that count, today included, 1 to 7",
        ),
        LIMIT,
    ],
    media: JSON,
    schema: "Interactions",
    problems: &[400, 404, 503],
};

/// The whole network.
pub(crate) const NETWORK: Route = Route {
    path: "/v1/network",
    id: "network",
    summary: "Activity by collection, rates, languages, drops, series by minute and hour",
    params: &[
        query("limit", "20", "Collections and languages at most, 1 to 100"),
        Param {
            allowed: WINDOWS,
            ..query("window", "24h", "Over which time languages are counted")
        },
        query("hours", "24", "Length of the series by hour, 1 to 1440"),
    ],
    media: JSON,
    schema: "Network",
    problems: &[400, 503],
};

/// The catalogue of views.
pub(crate) const VIEWS_ROUTE: Route = Route {
    path: "/v1/views",
    id: "views",
    summary: "The views with their measures, windows and numbers of rows",
    params: &[],
    media: JSON,
    schema: "Views",
    problems: &[503],
};

/// The snapshots there are.
pub(crate) const SNAPSHOTS: Route = Route {
    path: "/v1/snapshots",
    id: "snapshots",
    summary: "The moments of which all lists are kept, newest first: values of `as_of`",
    params: &[
        query("limit", "100", "Moments at most, 1 to 1000"),
        query("cursor", "", "The `cursor` of the page before"),
    ],
    media: JSON,
    schema: "Snapshots",
    problems: &[400, 503],
};

/// What the jobs do.
pub(crate) const JOBS: Route = Route {
    path: "/v1/jobs",
    id: "jobs",
    summary: "The periodic jobs: when each is due, whether it runs, what it did last",
    params: &[],
    media: JSON,
    schema: "Jobs",
    problems: &[400, 503],
};

/// Pushes.
pub(crate) const STREAM: Route = Route {
    path: "/v1/stream",
    id: "stream",
    summary: "Server-sent events: one `commit` event for the newest commit, at most a few a second",
    params: &[
        query(
            "lists",
            "",
            "Lists to send with each event, by comma, at most 4: views of `/v1/trends/{view}`",
        ),
        Param {
            allowed: WINDOWS,
            ..query("window", "24h", "Over which time")
        },
        LANG,
        query("limit", "10", "Entries of each list at most, 1 to 100"),
    ],
    media: "text/event-stream",
    schema: "",
    problems: &[400, 503],
};

const fn plain(path: &'static str, id: &'static str, media: &'static str) -> Route {
    Route {
        path,
        id,
        summary: "",
        params: &[],
        media,
        schema: "",
        problems: &[],
    }
}

/// The process lives.
pub(crate) const HEALTHZ: Route = Route {
    summary: "Answers as long as the process does",
    schema: "Alive",
    ..plain("/healthz", "alive", JSON)
};

/// The process can answer.
pub(crate) const READYZ: Route = Route {
    summary: "Whether questions can be answered, and if not, why; 503 if not",
    schema: "Ready",
    ..plain("/readyz", "ready", JSON)
};

/// Metrics.
pub(crate) const METRICS: Route = Route {
    summary: "Metrics of the process for Prometheus; as OpenMetrics if `Accept` asks for it",
    ..plain("/metrics", "metrics", "text/plain")
};

/// The description of all this.
pub(crate) const OPENAPI: Route = Route {
    summary: "This description",
    ..plain("/openapi.json", "openapi", JSON)
};

/// The start page.
pub(crate) const START: Route = Route {
    summary: "The start page, which uses only this API",
    ..plain("/", "start", "text/html")
};

/// All routes that are described.
pub(crate) const ROUTES: &[&Route] = &[
    &TRENDS,
    &TREND,
    &POST,
    &ACTOR_ROUTE,
    &INTERACTIONS,
    &NETWORK,
    &VIEWS_ROUTE,
    &SNAPSHOTS,
    &JOBS,
    &STREAM,
    &HEALTHZ,
    &READYZ,
    &METRICS,
    &OPENAPI,
    &START,
];
