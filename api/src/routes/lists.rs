//! The views that are lists: their names in routes, their measures and windows, and the kind of
//! their entries.

use skytide_core::view::{Measure, ViewId, Window};

use crate::problem::Problem;

/// The measure that is computed when a list is read; all others are stored.
pub(crate) const VELOCITY: &str = "velocity";

/// A view whose rows are lists.
#[derive(Debug)]
pub(crate) struct ListView {
    /// Its name in routes.
    pub(crate) name: &'static str,
    /// The stored view.
    pub(crate) id: ViewId,
    /// The measure of a request that names none.
    pub(crate) default_measure: Measure,
    /// The windows for which lists are stored.
    pub(crate) windows: &'static [Window],
    /// What the keys of its entries are.
    pub(crate) entry_kind: EntryKind,
}

/// What the keys of a list's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// `at://` URIs of posts.
    Post,
    /// DIDs of accounts.
    Account,
    /// Tags, domains or URLs, which are joined with nothing.
    Text,
}

const fn list(name: &'static str, id: ViewId, measure: Measure, kind: EntryKind) -> ListView {
    ListView {
        name,
        id,
        default_measure: measure,
        windows: &Window::ALL,
        entry_kind: kind,
    }
}

const DAY: &[Window] = &[Window::Day];

/// All views that are lists.
pub(crate) const LISTS: [ListView; 8] = [
    list("posts", ViewId::TopPosts, Measure::Likes, EntryKind::Post),
    list(
        "hashtags",
        ViewId::TopHashtags,
        Measure::Count,
        EntryKind::Text,
    ),
    list(
        "domains",
        ViewId::TopDomains,
        Measure::Count,
        EntryKind::Text,
    ),
    list("links", ViewId::TopLinks, Measure::Count, EntryKind::Text),
    list(
        "mentions",
        ViewId::TopMentions,
        Measure::Count,
        EntryKind::Account,
    ),
    ListView {
        windows: DAY,
        ..list(
            "actors",
            ViewId::TopActors,
            Measure::LikesReceived,
            EntryKind::Account,
        )
    },
    ListView {
        windows: DAY,
        ..list(
            "blocks",
            ViewId::TopBlocks,
            Measure::BlocksReceived,
            EntryKind::Account,
        )
    },
    ListView {
        windows: DAY,
        ..list(
            "interactions",
            ViewId::TopInteractions,
            Measure::LikesFromOthers,
            EntryKind::Account,
        )
    },
];

impl ListView {
    /// Finds a view by its name in routes, with or without the prefix `top_`.
    pub(crate) fn by_name(name: &str) -> Result<&'static Self, Problem> {
        let bare = name.strip_prefix("top_").unwrap_or(name);
        LISTS.iter().find(|view| view.name == bare).ok_or_else(|| {
            Problem::parameter("view", name, format!("there is no list {name:?}"))
                .allowed(LISTS.iter().map(|view| view.name))
        })
    }

    /// Whether its entries have counts of posts and of their authors.
    pub(crate) fn is_trend(&self) -> bool {
        self.default_measure == Measure::Count
    }

    /// Whether it also has lists of single languages.
    pub(crate) fn has_langs(&self) -> bool {
        self.windows.len() > 1
    }

    /// The measures by which its lists can be ordered, by their names in routes.
    pub(crate) fn measures(&self) -> Vec<&'static str> {
        let stored = Measure::of(self.id).iter().map(|measure| measure.name());
        stored.chain(self.is_trend().then_some(VELOCITY)).collect()
    }
}
