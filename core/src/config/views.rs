//! The selection of views: `INDEXER_VIEWS`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::ValueError;
use super::environment::mistyped;
use crate::view::ViewId;

/// The word for all views.
const ALL: &str = "all";

/// The views that the dataflow computes: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views(BTreeSet<ViewId>);

impl Views {
    /// The views, in the order of their numbers.
    pub fn selected(&self) -> Vec<ViewId> {
        self.0.iter().copied().collect()
    }
}

impl FromStr for Views {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (mut included, mut excluded) = (BTreeSet::new(), BTreeSet::new());
        let mut names_some = false;
        for name in text.split(',').map(str::trim) {
            match name.strip_prefix('-') {
                Some(name) => drop(excluded.insert(view(name.trim_start())?)),
                None if name == ALL => {
                    names_some = true;
                    included.extend(ViewId::ALL);
                }
                None => {
                    names_some = true;
                    included.insert(view(name)?);
                }
            }
        }
        if !names_some {
            included.extend(ViewId::ALL);
        }
        let selected: BTreeSet<_> = included.difference(&excluded).copied().collect();
        match selected.is_empty() {
            true => Err(ValueError(format!("{text:?} leaves no view to compute"))),
            false => Ok(Self(selected)),
        }
    }
}

/// The view with this name.
fn view(name: &str) -> Result<ViewId, ValueError> {
    ViewId::from_name(name).ok_or_else(|| {
        let names = ViewId::ALL.iter().map(|view| view.name());
        let hint = match mistyped(name, names.clone()) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("the views are {}", names.collect::<Vec<_>>().join(", ")),
        };
        ValueError(format!("there is no view {name:?}; {hint}"))
    })
}

impl fmt::Display for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let excluded = ViewId::ALL.iter().filter(|view| !self.0.contains(view));
        let excluded: Vec<_> = excluded.map(|view| format!("-{}", view.name())).collect();
        match excluded.len() {
            0 => f.write_str(ALL),
            few if few < self.0.len() => f.write_str(&excluded.join(",")),
            _ => {
                let selected: Vec<_> = self.0.iter().map(|view| view.name()).collect();
                f.write_str(&selected.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Views {
        text.parse().expect(text)
    }

    #[test]
    fn views_are_listed_or_left_out_by_name() {
        let all: Vec<ViewId> = ViewId::ALL.to_vec();
        let without = |left_out: &[ViewId]| -> Vec<ViewId> {
            let views = all.iter().filter(|view| !left_out.contains(view));
            views.copied().collect()
        };
        assert_eq!(parse("all").selected().len(), all.len());
        assert_eq!(
            parse("top_posts, posts").selected(),
            [ViewId::Posts, ViewId::TopPosts]
        );
        let mut selected = parse("-links,-top_links").selected();
        let mut expected = without(&[ViewId::Links, ViewId::TopLinks]);
        selected.sort();
        expected.sort();
        assert_eq!(selected, expected);
        assert_eq!(parse("all,-links,-top_links"), parse("-top_links,-links"));
        assert_eq!(parse("posts,actors,-posts").selected(), [ViewId::Actors]);
    }

    #[test]
    fn a_selection_is_parsed_as_it_is_shown() {
        for text in ["all", "posts,top_posts", "-links,-top_links", "-handles"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("actors,posts,posts").to_string(), "posts,actors");
    }

    #[test]
    fn an_unknown_name_gets_a_suggestion_or_the_list_of_views() {
        let rejected = |text: &str| text.parse::<Views>().expect_err(text).0;
        assert_eq!(
            rejected("posts,hashtag"),
            "there is no view \"hashtag\"; did you mean hashtags?"
        );
        assert_eq!(
            rejected("-topposts"),
            "there is no view \"topposts\"; did you mean top_posts?"
        );
        let list = rejected("everything");
        assert!(list.contains("the views are posts, top_posts,"), "{list}");
        assert!(rejected("").contains("there is no view \"\""));
        assert!(rejected("posts,").contains("there is no view \"\""));
        assert_eq!(
            rejected("posts,-posts"),
            "\"posts,-posts\" leaves no view to compute"
        );
    }
}
