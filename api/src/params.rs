//! Query parameters. Each must be known to the route, given once and in its range. Otherwise the
//! request is refused with the values that are allowed. An empty parameter counts as absent.

use std::ops::RangeInclusive;

use axum::extract::rejection::PathRejection;
use skytide_core::view::Window;

use crate::catalogue::{ParamIn, Route};
use crate::problem::Problem;

/// The query parameters of a request to one route.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// Parses the query of a request.
    ///
    /// # Errors
    /// `unknown_parameter` if the route does not have a parameter, `invalid_parameter` if one is
    /// given twice.
    pub(crate) fn parse(query: Option<&str>, route: &Route) -> Result<Self, Problem> {
        let known = || {
            route
                .params
                .iter()
                .filter(|param| param.location == ParamIn::Query)
        };
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            let Some(param) = known().find(|param| param.name == name) else {
                let names = known().map(|param| param.name).collect();
                return Err(Problem::unknown_parameter(&name, names));
            };
            if params.0.iter().any(|(seen, _)| *seen == param.name) {
                return Err(Problem::parameter(
                    &name,
                    &value,
                    format!("{name:?} is given twice"),
                ));
            }
            params.0.push((param.name, value.into_owned()));
        }
        params.0.retain(|(_, value)| !value.is_empty());
        Ok(params)
    }

    /// Parameters whose names need no check, such as those of a cursor.
    pub(crate) fn from_pairs(pairs: &[(&'static str, &str)]) -> Self {
        let given = pairs.iter().filter(|(_, value)| !value.is_empty());
        Self(
            given
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        )
    }

    /// The value of a parameter; `None` if it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a whole number in `range`.
    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            Problem::parameter(
                name,
                text,
                format!("{name:?} must be a whole number in {from}..={to}"),
            )
        })
    }

    /// The parameter `window`, which must be one of `available`.
    pub(crate) fn window(&self, available: &[Window], default: Window) -> Result<Window, Problem> {
        let Some(text) = self.text("window") else {
            return Ok(default);
        };
        let window = Window::from_name(text).filter(|window| available.contains(window));
        window.ok_or_else(|| {
            let names = available.iter().map(|window| window.name());
            Problem::parameter("window", text, format!("there is no window {text:?} here"))
                .allowed(names)
        })
    }

    /// The primary subtag of the parameter `lang` in lower case; empty: all languages.
    pub(crate) fn lang(&self) -> Result<Box<str>, Problem> {
        let Some(text) = self.text("lang") else {
            return Ok("".into());
        };
        let primary = text
            .split(['-', '_'])
            .next()
            .unwrap_or("")
            .to_ascii_lowercase();
        let is_valid = (2..=8).contains(&primary.len())
            && primary.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_valid {
            return Ok(primary.into());
        }
        let detail =
            "\"lang\" must be a language tag such as en, pt-BR, or und for posts that name none";
        Err(Problem::parameter("lang", text, detail))
    }

    /// The value of a parameter that is one of `words`, as its index. An absent one has the index
    /// 0.
    pub(crate) fn choice(&self, name: &str, words: &[&str]) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(0);
        };
        let index = words.iter().position(|word| *word == text);
        index.ok_or_else(|| {
            Problem::parameter(name, text, format!("{name:?} cannot be {text:?}"))
                .allowed(words.iter().copied())
        })
    }
}

/// The decoded parameters of a path.
///
/// # Errors
/// `invalid_parameter` if the percent-encoded bytes are not UTF-8.
pub(crate) fn decode_path<T>(
    path: Result<axum::extract::Path<T>, PathRejection>,
) -> Result<T, Problem> {
    match path {
        Ok(axum::extract::Path(parts)) => Ok(parts),
        Err(_) => Err(Problem::parameter(
            "path",
            "",
            "the path is not percent-encoded UTF-8",
        )),
    }
}
