//! The id of a request. It is in the answer's header `X-Request-Id`, in the log lines about the
//! request, and in the answer if the request failed on our side.
//!
//! The client may choose the id, so that one id can follow a request through several services.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

/// The header that contains the id, in requests and answers.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of an id that the client chose.
const LENGTH_MAX: usize = 64;

/// Distinguishes the ids of this process from those of others and of earlier starts. The standard
/// library seeds its hashers at random.
static PREFIX: LazyLock<u32> = LazyLock::new(|| RandomState::new().hash_one(0) as u32);
static NEXT: AtomicU64 = AtomicU64::new(1);

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the client chose if it is valid; otherwise a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let chosen = headers.get(HEADER).filter(|value| {
            let bytes = value.as_bytes();
            (1..=LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        chosen.cloned().map_or_else(Self::new, Self)
    }

    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}-{number:x}", *PREFIX);
        Self(HeaderValue::try_from(id).expect("hexadecimal digits"))
    }

    /// The id of the request that the current task answers; a new id outside of
    /// [`RequestId::scope`].
    pub(crate) fn current() -> Self {
        CURRENT
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Self::new())
    }

    /// Runs a future in which [`RequestId::current`] is this id.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// The value of the header.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
