//! What a route of the API is: its path and parameters, who may call it, and what it costs. The
//! routes themselves are in `catalogue`.

use axum::http::Method;

/// Media type of most answers.
pub(crate) const JSON: &str = "application/json";

/// A route of the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The path, as axum writes it. OpenAPI writes it the same, but without `*`.
    pub(crate) path: &'static str,
    /// A name for generated clients.
    pub(crate) id: &'static str,
    /// A sentence that describes the answer.
    pub(crate) summary: &'static str,
    /// Its parameters.
    pub(crate) params: &'static [Param],
    /// Media type of the answer.
    pub(crate) media: &'static str,
    /// Name of the answer's schema in `src/schemas.json`; empty: the answer is text.
    pub(crate) schema: &'static str,
    /// The statuses of its problems.
    pub(crate) problems: &'static [u16],
    /// The method; `HEAD` is allowed wherever `GET` is.
    pub(crate) method: Verb,
    /// Who may call it.
    pub(crate) access: RouteAccess,
    /// What a call costs, in units of the rate limit.
    pub(crate) cost: u32,
}

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    /// The name in OpenAPI.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }

    /// The form in the header `Allow`.
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a request with this method calls such a route.
    pub(crate) fn accepts(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Delete => method == Method::DELETE,
        }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAccess {
    /// Everybody. A key is not looked at.
    Public,
    /// A key with the scope `read`, and everybody if `API_ANONYMOUS` is `read`.
    Read,
    /// A key with the scope `live`, and everybody if `API_ANONYMOUS` is `read`.
    Live,
    /// A key with the scope `admin`. Requests of web pages of another origin are refused.
    Admin,
    /// The route checks the key itself (`Access::check_own`). Its answers cost the same for all
    /// senders: they count against the limit of the key in `X-API-Key` if that is valid and has the
    /// scope `read`, else against that of the client's address.
    Own,
}

/// What a list or another answer of several rows costs.
pub(crate) const LIST_COST: u32 = 2;
/// What an answer costs that reads many rows, such as `/v1/network` or a snapshot (`as_of`).
pub(crate) const MANY_ROWS_COST: u32 = 10;
/// The start of the paths of all admin routes.
pub(crate) const ADMIN_PREFIX: &str = "/v1/admin/";
/// The largest cost of a request. The burst of every limit is at least this.
pub const COST_MAX: u32 = MANY_ROWS_COST;

/// A route that reads views: the fields that most routes have in common.
pub(crate) const fn read(cost: u32) -> Route {
    Route {
        access: RouteAccess::Read,
        cost,
        ..plain("", "", JSON)
    }
}

/// A parameter of a route.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) location: ParamIn,
    pub(crate) doc: &'static str,
    /// The value that an absent or empty parameter has.
    pub(crate) default: &'static str,
    /// The allowed values; empty: `doc` describes them.
    pub(crate) allowed: &'static [&'static str],
}

/// The part of a request that contains a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParamIn {
    Path,
    Query,
}

/// A parameter in the path.
pub(crate) const fn path(name: &'static str, doc: &'static str) -> Param {
    Param {
        name,
        location: ParamIn::Path,
        doc,
        default: "",
        allowed: &[],
    }
}

/// A parameter in the query.
pub(crate) const fn query(name: &'static str, default: &'static str, doc: &'static str) -> Param {
    Param {
        name,
        location: ParamIn::Query,
        doc,
        default,
        allowed: &[],
    }
}

/// A route without parameters and problems.
pub(crate) const fn plain(path: &'static str, id: &'static str, media: &'static str) -> Route {
    Route {
        path,
        id,
        summary: "",
        params: &[],
        media,
        schema: "",
        problems: &[],
        method: Verb::Get,
        access: RouteAccess::Public,
        cost: 1,
    }
}

/// A route for the operator.
pub(crate) const fn admin(method: Verb) -> Route {
    Route {
        method,
        access: RouteAccess::Admin,
        ..plain("", "", JSON)
    }
}
