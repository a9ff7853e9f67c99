//! Documents of `hashtags`, `domains`, `links`, `mentions` and `languages`.

use serde::{Deserialize, Serialize};
use skytide_core::view::{TrendKey, TrendRow};

use super::{Count, RowDocument};

/// The number of posts with a tag, domain, link, mention or language, and of their distinct
/// authors.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrendDocument {
    key: String,
    lang: String,
    posts: ByWindow,
    authors: ByWindow,
}

#[derive(Debug, Serialize, Deserialize)]
struct ByWindow {
    #[serde(rename = "1h")]
    hour: Count,
    #[serde(rename = "24h")]
    day: Count,
    #[serde(rename = "7d")]
    week: Count,
    all: Count,
}

impl ByWindow {
    fn of([hour, day, week, all]: [u32; 4]) -> Self {
        Self {
            hour: hour.into(),
            day: day.into(),
            week: week.into(),
            all: all.into(),
        }
    }

    fn counts(&self) -> Option<[u32; 4]> {
        let Self {
            hour,
            day,
            week,
            all,
        } = self;
        Some([hour.to_u32()?, day.to_u32()?, week.to_u32()?, all.to_u32()?])
    }
}

impl RowDocument for TrendDocument {
    type Key = TrendKey;
    type Row = TrendRow;

    fn from_row(key: TrendKey, row: TrendRow) -> Option<Self> {
        Some(Self {
            key: key.key.into(),
            lang: key.lang.into(),
            posts: ByWindow::of(row.counts),
            authors: ByWindow::of(row.authors),
        })
    }

    fn into_row(self) -> Option<TrendRow> {
        Some(TrendRow {
            counts: self.posts.counts()?,
            authors: self.authors.counts()?,
        })
    }
}
