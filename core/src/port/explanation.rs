//! A reason in two parts: what everybody may read, and what only the operator may.
//!
//! ```text
//! error of a driver ─▶ Explanation ─┬─ public ──▶ answers of the API, the start page
//!                                   └─ in full ─▶ log, probe, answers to a key with scope `admin`
//! ```
//!
//! The error texts of drivers contain host names, ports and codes. [`Explanation`] implements neither
//! `Display` nor `Serialize`, so each place that shows one has to decide who reads it.

use std::error::Error;

/// Why something does not work, for two audiences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    public: String,
    private: Option<String>,
}

impl Explanation {
    /// A reason that everybody may read.
    pub fn new(public: impl Into<String>) -> Self {
        Self {
            public: public.into(),
            private: None,
        }
    }

    /// A reason that everybody may read, with a detail for the operator only.
    pub fn with_private(public: impl Into<String>, private: impl Into<String>) -> Self {
        Self {
            public: public.into(),
            private: Some(private.into()),
        }
    }

    /// A reason that everybody may read, caused by this error. The texts of the error and of its
    /// causes are for the operator only.
    pub fn because(public: impl Into<String>, error: &dyn Error) -> Self {
        Self::with_private(public, one_line(error))
    }

    /// The part that everybody may read.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The part for the operator only, if there is one.
    pub fn private(&self) -> Option<&str> {
        self.private.as_deref()
    }

    /// Both parts in one text, for the operator only.
    pub fn in_full(&self) -> String {
        match &self.private {
            Some(private) => format!("{}: {private}", self.public),
            None => self.public.clone(),
        }
    }

    /// Replaces the public part by the result of `change`.
    #[must_use]
    pub fn map_public(self, change: impl FnOnce(&str) -> String) -> Self {
        Self {
            public: change(&self.public),
            private: self.private,
        }
    }
}

/// An error and its causes in one line, from the operation to the root cause.
fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::store::StoreError;

    #[test]
    fn the_texts_of_an_error_and_its_causes_are_private() {
        let error = StoreError::Failed {
            operation: "write rows",
            source: "db.example:27017: code 10107".into(),
        };
        let why = Explanation::because("the view store does not accept commits", &error);
        assert_eq!(why.public(), "the view store does not accept commits");
        let private = "the view store could not write rows: db.example:27017: code 10107";
        assert_eq!(why.private(), Some(private));
        assert_eq!(why.in_full(), format!("{}: {private}", why.public()));
        let changed = why.map_public(|public| format!("{public} since 3 s"));
        assert!(changed.public().ends_with("since 3 s") && changed.private() == Some(private));
    }
}
