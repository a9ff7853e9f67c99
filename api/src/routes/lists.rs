//! The views of lists: their names in routes, measures, windows, and what their keys are.

use skytide_core::view::{Measure, ViewId, Window};

use crate::problem::Problem;

/// The measure that is computed when read.
pub(crate) const VELOCITY: &str = "velocity";

/// A view of lists.
#[derive(Debug)]
pub(crate) struct ListView {
    /// In routes.
    pub(crate) name: &'static str,
    /// Where its lists are.
    pub(crate) id: ViewId,
    /// The measure if none is named.
    pub(crate) default: Measure,
    /// Windows that are kept.
    pub(crate) windows: &'static [Window],
    /// What its keys are.
    pub(crate) keys: Keys,
}

/// What the entries of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Posts,
    Accounts,
    Texts,
}

const fn list(name: &'static str, id: ViewId, default: Measure, keys: Keys) -> ListView {
    ListView {
        name,
        id,
        default,
        windows: &Window::ALL,
        keys,
    }
}

const DAY: &[Window] = &[Window::Day];

/// All of them.
pub(crate) const LISTS: [ListView; 7] = [
    list("posts", ViewId::TopPosts, Measure::Likes, Keys::Posts),
    list("hashtags", ViewId::TopHashtags, Measure::Count, Keys::Texts),
    list("domains", ViewId::TopDomains, Measure::Count, Keys::Texts),
    list("links", ViewId::TopLinks, Measure::Count, Keys::Texts),
    list(
        "mentions",
        ViewId::TopMentions,
        Measure::Count,
        Keys::Accounts,
    ),
    ListView {
        windows: DAY,
        ..list(
            "actors",
            ViewId::TopActors,
            Measure::LikesReceived,
            Keys::Accounts,
        )
    },
    ListView {
        windows: DAY,
        ..list(
            "blocks",
            ViewId::TopBlocks,
            Measure::BlocksReceived,
            Keys::Accounts,
        )
    },
];

impl ListView {
    /// The view of this name, `top_` in front or not.
    pub(crate) fn named(name: &str) -> Result<&'static Self, Problem> {
        let bare = name.strip_prefix("top_").unwrap_or(name);
        LISTS.iter().find(|view| view.name == bare).ok_or_else(|| {
            Problem::parameter("view", name, format!("there is no list {name:?}"))
                .allowed(LISTS.iter().map(|view| view.name))
        })
    }

    /// Whether its entries count posts and their authors.
    pub(crate) fn is_trend(&self) -> bool {
        self.default == Measure::Count
    }

    /// Whether there are lists of single languages.
    pub(crate) fn has_langs(&self) -> bool {
        self.windows.len() > 1
    }

    /// The measures by which it can be ordered, as in routes.
    pub(crate) fn measures(&self) -> Vec<&'static str> {
        let stored = Measure::of(self.id).iter().map(|measure| measure.name());
        stored.chain(self.is_trend().then_some(VELOCITY)).collect()
    }
}
