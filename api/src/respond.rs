//! From the answer to a query to the response of a route: JSON, gzip, entity tag, 304.

use std::fmt::Debug;
use std::sync::Arc;

use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use skytide_core::time::Timestamp;

use crate::answer::{Meta, Query};
use crate::cache::{AnswerCache, CachedAnswer};
use crate::compressed::accepts_gzip;
use crate::problem::Problem;
use crate::state::ApiContext;

/// Minimum length of an answer that is compressed, in bytes. A smaller one fits into one packet.
const COMPRESSED_BYTES_MIN: usize = 1_024;

/// Answers the queries of a route. Clones share the cache.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) context: ApiContext,
    pub(crate) cache: AnswerCache,
}

impl Answers {
    /// Answers a query with JSON, or with 304 if the client already has the same data, by the weak
    /// comparison of <https://www.rfc-editor.org/rfc/rfc9110#name-if-none-match>.
    pub(crate) async fn respond<Q: Query + Debug + 'static>(
        &self,
        headers: &HeaderMap,
        query: Q,
    ) -> Result<Response, Problem> {
        let answer = self.cache.get(&self.context, query).await?;
        if !answer.is_consistent {
            let no_store = [(header::CACHE_CONTROL, "no-store")];
            return Ok((no_store, self.json(headers, &answer)?).into_response());
        }
        let tag = format!("W/\"{:032x}\"", answer.tag);
        let client_has = matches_any(headers) || lists_tag(headers, &tag);
        let tag = HeaderValue::try_from(tag).expect("hexadecimal digits");
        let revalidate = HeaderValue::from_static("no-cache");
        let caching = [
            (header::ETAG, tag),
            (header::CACHE_CONTROL, revalidate),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        match client_has {
            true => Ok((StatusCode::NOT_MODIFIED, caching).into_response()),
            false => Ok((caching, self.json(headers, &answer)?).into_response()),
        }
    }

    /// The text of an answer: the fields that all answers have, then its own. It is compressed if
    /// it is long enough and the client accepts that.
    fn json(&self, headers: &HeaderMap, answer: &Arc<CachedAnswer>) -> Result<Response, Problem> {
        let meta = Meta {
            epoch: answer.commit.epoch,
            as_of: answer.time.known().map(Timestamp::rfc3339),
            freshness_ms: self.context.age_ms(answer.time),
            since: answer.since.known().map(Timestamp::rfc3339),
            consistent: answer.is_consistent,
        };
        let mut text = serde_json::to_string(&meta).map_err(|error| Problem::internal(&error))?;
        let own = answer.own_fields();
        text.pop();
        if own != "}" {
            text.push(',');
        }
        let is_long = text.len() + own.len() >= COMPRESSED_BYTES_MIN;
        let media_type = (header::CONTENT_TYPE, "application/json");
        let mut response = if is_long && accepts_gzip(headers) {
            let gzip = self.cache.compressed(answer).gzip_after(&text);
            let encoding = (header::CONTENT_ENCODING, "gzip");
            ([media_type, encoding], gzip).into_response()
        } else {
            text.reserve_exact(own.len());
            text.push_str(own);
            ([media_type], text).into_response()
        };
        response.extensions_mut().insert(Negotiated);
        Ok(response)
    }
}

/// Marks a response whose encoding was already negotiated.
#[derive(Clone, Copy, Debug)]
struct Negotiated;

/// Whether the encoding of a response is not negotiated yet: a condition of the compression layer.
pub(crate) fn is_not_negotiated(
    _: StatusCode,
    _: Version,
    _: &HeaderMap,
    extensions: &Extensions,
) -> bool {
    extensions.get::<Negotiated>().is_none()
}

/// Whether `If-None-Match` is `*`, which matches every existing answer.
fn matches_any(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH);
    values
        .iter()
        .any(|value| value.as_bytes().trim_ascii() == b"*")
}

/// Whether `If-None-Match` lists this entity tag, by the weak comparison. The client may send any
/// bytes: a value is ignored from its first malformed byte on.
fn lists_tag(headers: &HeaderMap, tag: &str) -> bool {
    let wanted = tag.trim_start_matches("W/").trim_matches('"').as_bytes();
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.into_iter().any(|value| {
        let mut rest = value.as_bytes();
        loop {
            rest = match rest {
                [b' ' | b'\t' | b',', tail @ ..] => tail,
                [b'W', b'/', b'"', tail @ ..] | [b'"', tail @ ..] => {
                    let Some(end) = tail.iter().position(|byte| *byte == b'"') else {
                        return false;
                    };
                    if &tail[..end] == wanted {
                        return true;
                    }
                    &tail[end + 1..]
                }
                _ => return false,
            };
        }
    })
}
