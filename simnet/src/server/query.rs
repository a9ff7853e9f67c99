//! Query parameters of a request. A parameter may occur more than once.

use axum::http::Uri;
use skytide_core::id::Did;

use super::problem::Problem;

/// The decoded query parameters.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The values of a parameter, also in the form `name[]`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter();
        let named = pairs.filter(move |(it, _)| it.strip_suffix("[]").unwrap_or(it) == name);
        named.map(|(_, value)| value.as_str())
    }

    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The value of a required parameter.
    pub(super) fn need<'a>(&'a self, name: &'a str) -> Result<&'a str, Problem> {
        let missing = || Problem::invalid(format!("Params must have the property \"{name}\""));
        self.get(name).ok_or_else(missing)
    }

    /// A required parameter that is a DID.
    pub(super) fn did(&self, name: &str) -> Result<Did, Problem> {
        let text = self.need(name)?;
        let wrong = |_| Problem::invalid(format!("{name} must be a valid did"));
        text.parse().map_err(wrong)
    }

    /// An optional parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let wrong = |_| Problem::invalid(format!("{name} must be an integer"));
        let text = self.get(name).filter(|it| !it.is_empty());
        text.map(|text| text.parse().map_err(wrong)).transpose()
    }
}
