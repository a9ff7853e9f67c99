//! The cursor of a page of a list, opaque to clients: the parameters of the request, and the last
//! entry of the page.
//!
//! The next page starts after that entry in the list as it is *then*. So entries that did not move
//! are neither repeated nor left out, however many commits come between the pages. An entry that
//! moved across the cursor appears twice or not at all.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Version of the format below. A cursor of another version is refused.
const FORMAT_VERSION: u8 = 1;

/// The content of a cursor. It is stored in JSON, in base64url.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// [`FORMAT_VERSION`]
    form: u8,
    pub(crate) view: String,
    pub(crate) window: String,
    pub(crate) lang: String,
    pub(crate) measure: String,
    pub(crate) limit: usize,
    /// The time in milliseconds of the snapshot that the page belongs to; `None` if the page
    /// belongs to a current list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<u64>,
    /// The last entry of the page.
    pub(crate) after: ListPosition,
}

/// The parameters that name a list, by their names in routes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListName<'a> {
    pub(crate) view: &'a str,
    pub(crate) window: &'a str,
    /// Empty: all languages.
    pub(crate) lang: &'a str,
    pub(crate) measure: &'a str,
}

/// The position of an entry in a list. Lists are ordered by descending value, then by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListPosition {
    pub(crate) value: f64,
    pub(crate) key: Box<str>,
}

impl ListPosition {
    /// Whether an entry with this value and key comes after this position.
    pub(crate) fn precedes(&self, value: f64, key: &str) -> bool {
        value < self.value || (value == self.value && *key > *self.key)
    }
}

impl Cursor {
    /// A cursor of a current list.
    pub(crate) fn new(list: ListName<'_>, limit: usize, after: ListPosition) -> Self {
        Self {
            form: FORMAT_VERSION,
            view: list.view.to_owned(),
            window: list.window.to_owned(),
            lang: list.lang.to_owned(),
            measure: list.measure.to_owned(),
            limit,
            as_of: None,
            after,
        }
    }

    /// Encodes the cursor for an answer.
    pub(crate) fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts and finite numbers");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Decodes a cursor of a request.
    ///
    /// # Errors
    /// `invalid_parameter` if the text is not a cursor of this API.
    pub(crate) fn decode(text: &str) -> Result<Self, Problem> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Self> = json.and_then(|json| serde_json::from_slice(&json).ok());
        cursor
            .filter(|cursor| cursor.form == FORMAT_VERSION)
            .ok_or_else(|| {
                let detail = "\"cursor\" must be the unchanged cursor of an answer of this API";
                Problem::parameter("cursor", text, detail)
            })
    }
}
