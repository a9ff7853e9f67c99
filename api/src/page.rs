//! The cursor of a page: the whole question and the last entry that was answered, opaque to clients.
//!
//! The next page begins behind that entry in the list as it is *then*. So nothing is repeated or left out among the
//! entries that did not move, however many commits lie between; one that moved over the cursor shows twice or not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Number of the form below; another one is refused.
const FORM: u8 = 1;

/// What a cursor carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    form: u8,
    pub(crate) view: String,
    pub(crate) window: String,
    pub(crate) lang: String,
    pub(crate) measure: String,
    pub(crate) limit: usize,
    /// The moment of the snapshot of which it is a page, in ms; of a list of now there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<u64>,
    /// The last entry's value, and its key.
    pub(crate) after: Position,
}

/// A place in a list: the highest value first, equal ones by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) value: f64,
    pub(crate) key: Box<str>,
}

impl Position {
    /// Whether an entry of this value and key stands behind this place.
    pub(crate) fn is_before(&self, value: f64, key: &str) -> bool {
        value < self.value || (value == self.value && *key > *self.key)
    }
}

impl Cursor {
    /// A cursor for the question `(view, window, lang, measure)`.
    pub(crate) fn new(question: [&str; 4], limit: usize, after: Position) -> Self {
        let [view, window, lang, measure] = question.map(str::to_owned);
        Self {
            form: FORM,
            view,
            window,
            lang,
            measure,
            limit,
            as_of: None,
            after,
        }
    }

    pub(crate) fn write(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts and finite numbers");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Reads a cursor back.
    ///
    /// # Errors
    /// The text is not a cursor of ours.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Self> = json.and_then(|json| serde_json::from_slice(&json).ok());
        cursor.filter(|cursor| cursor.form == FORM).ok_or_else(|| {
            let detail = "\"cursor\" must be the cursor of an answer of this API, unchanged";
            Problem::parameter("cursor", text, detail)
        })
    }
}
