//! The target of a request: a post or an account, in every form in which people paste it into a
//! path.

use serde::Serialize;
use skytide_core::id::{Collection, Did, PostKey, Rkey, is_handle};
use skytide_core::time::Timestamp;

use crate::problem::Problem;

/// An account, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Did(Did),
    /// In lower case, without `@`.
    Handle(String),
}

/// How a handle was resolved to an account, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resolved {
    pub(crate) handle: String,
    pub(crate) by: ResolvedBy,
    /// Whether the handle names the account and the account names the handle.
    pub(crate) verified: bool,
    /// Why it is not verified; `None` if it is.
    pub(crate) reason: Option<String>,
    /// When the account claimed the handle in the stream; `None` if it does not claim it now.
    pub(crate) claimed: Option<String>,
    /// Number of accounts that claim the handle in the stream now.
    pub(crate) claims: usize,
    /// Whether more accounts claim it than were read.
    pub(crate) claims_partial: bool,
}

impl Resolved {
    /// Whether only a claim names the account, and the network answered that the handle names
    /// nobody. If the network was not asked, the reason starts with `not checked`.
    pub(crate) fn is_refuted(&self) -> bool {
        let was_checked = |reason: &String| !reason.starts_with("not checked");
        self.by == ResolvedBy::Claim && self.reason.as_ref().is_some_and(was_checked)
    }
}

/// What named the account of a handle, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResolvedBy {
    /// A fetched profile.
    Profile,
    /// The servers of the network.
    Network,
    /// The newest `#identity` event.
    Claim,
}

impl Actor {
    /// Parses a DID, a handle with or without `@`, or an `at://` URI of one of them.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let name = text.trim();
        let name = name.strip_prefix("at://").unwrap_or(name);
        Self::named(name.strip_prefix('@').unwrap_or(name), text)
    }

    /// Parses a DID, or a handle without `@`.
    pub(crate) fn parse_bare(name: &str) -> Result<Self, Problem> {
        Self::named(name, name)
    }

    /// The account of a bare name, which the client wrote as `text`.
    fn named(name: &str, text: &str) -> Result<Self, Problem> {
        if name.starts_with("did:") {
            let did = name.parse().map_err(|_| {
                Problem::parameter(
                    "actor",
                    text,
                    "this is not a DID such as did:plc:ewvi7nxzyoun6zhxrhs64oiz",
                )
            })?;
            return Ok(Self::Did(did));
        }
        let handle = name.strip_suffix('.').unwrap_or(name);
        if is_handle(handle) {
            return Ok(Self::Handle(handle.to_ascii_lowercase()));
        }
        let detail =
            "an account is named by its DID (did:plc:...) or its handle (name.bsky.social)";
        Err(Problem::parameter("actor", text, detail))
    }
}

/// A post, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostAddress {
    pub(crate) author: Actor,
    pub(crate) rkey: Rkey,
}

impl PostAddress {
    /// Parses `at://account/app.bsky.feed.post/rkey` or
    /// `https://bsky.app/profile/account/post/rkey`, with a DID or a handle as account. A single
    /// slash after the scheme is accepted, because some proxies merge two slashes into one.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let bare = text
            .trim()
            .split(['?', '#'])
            .next()
            .unwrap_or("")
            .trim_end_matches('/');
        let (scheme, rest) = bare.split_once(":/").unwrap_or(("at", bare));
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        let found = match (scheme, &parts[..]) {
            ("at", [author, Collection::POST, rkey]) => Some(((*author).to_owned(), rkey)),
            ("https" | "http", ["bsky.app", "profile", author, "post", rkey]) => {
                // `profile_url` encodes `%`, so a link that was encoded as a whole has `%25` here.
                Some((author.replace("%25", "%"), rkey))
            }
            _ => None,
        };
        let (author, rkey) = found.ok_or_else(|| not_a_post(text))?;
        let rkey = rkey.parse().map_err(|_| not_a_post(text))?;
        Ok(Self {
            author: Actor::parse(&author)?,
            rkey,
        })
    }
}

fn not_a_post(text: &str) -> Problem {
    let detail =
        "a post is at://did/app.bsky.feed.post/rkey or https://bsky.app/profile/did/post/rkey";
    Problem::parameter("uri", text, detail)
}

/// An account whose handle, if the client named it by one, was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedActor {
    pub(crate) did: Did,
    /// `None` if the client named the account by its DID.
    pub(crate) resolved: Option<Resolved>,
}

/// The page of an account for people. The DID of a `did:web` with a port contains a `%`. It is
/// encoded, because a browser would decode it.
pub(crate) fn profile_url(did: &Did) -> String {
    let did = did.with_str(|did| did.replace('%', "%25"));
    format!("https://bsky.app/profile/{did}")
}

/// The page of a post for people.
pub(crate) fn post_url(post: &PostKey) -> String {
    format!("{}/post/{}", profile_url(&post.did()), post.rkey())
}

/// A time as text; `None` for the default time, which means that there is none.
pub(crate) fn optional_time(time: Timestamp) -> Option<String> {
    (time != Timestamp::default()).then(|| time.rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_posts_address_is_parsed() {
        let did = "did:plc:3ir4kq33qnjyzawsel2s2vak";
        let forms = [
            format!("at://{did}/app.bsky.feed.post/3n2xril3jyo2a"),
            format!("at:/{did}/app.bsky.feed.post/3n2xril3jyo2a"),
            format!("{did}/app.bsky.feed.post/3n2xril3jyo2a"),
            format!("https://bsky.app/profile/{did}/post/3n2xril3jyo2a"),
            format!("https:/bsky.app/profile/{did}/post/3n2xril3jyo2a/"),
            format!("https://bsky.app/profile/{did}/post/3n2xril3jyo2a?ref_src=embed"),
        ];
        for form in forms {
            let post = PostAddress::parse(&form).unwrap();
            assert_eq!(post.author, Actor::Did(did.parse().unwrap()), "{form}");
            assert_eq!(post.rkey.to_string(), "3n2xril3jyo2a", "{form}");
        }
        let by_handle =
            PostAddress::parse("https://bsky.app/profile/Ana.bsky.social/post/self").unwrap();
        assert_eq!(by_handle.author, Actor::Handle("ana.bsky.social".into()));
        for form in [
            "",
            "hello",
            "at://did:plc:x/app.bsky.feed.like/3n2xril3jyo2a",
            "https://example.com/profile/a/post/b",
        ] {
            assert!(PostAddress::parse(form).is_err(), "{form}");
        }
    }

    #[test]
    fn the_url_of_a_page_is_still_right_after_a_browser_decoded_it() {
        let did: Did = "did:web:localhost%3A3000".parse().unwrap();
        let page = "https://bsky.app/profile/did:web:localhost%253A3000";
        assert_eq!(profile_url(&did), page);
        let post = PostKey::new(&did, &"3n2xril3jyo2a".parse().unwrap());
        let page = format!("{page}/post/3n2xril3jyo2a");
        assert_eq!(post_url(&post), page);
        // The server decodes the path of a request once.
        for form in [page.clone(), page.replace("%25", "%")] {
            let found = PostAddress::parse(&form).unwrap();
            assert_eq!(found.author, Actor::Did(did.clone()), "{form}");
        }
        let plain: Did = "did:plc:3ir4kq33qnjyzawsel2s2vak".parse().unwrap();
        assert_eq!(
            profile_url(&plain),
            "https://bsky.app/profile/did:plc:3ir4kq33qnjyzawsel2s2vak"
        );
    }

    #[test]
    fn an_account_is_named_by_a_did_or_a_handle() {
        for text in [
            "@ana.bsky.social",
            "ana.bsky.social",
            "ANA.bsky.social.",
            "at://ana.bsky.social",
        ] {
            assert_eq!(
                Actor::parse(text).unwrap(),
                Actor::Handle("ana.bsky.social".into()),
                "{text}"
            );
        }
        for text in [
            "ana",
            "did:plc:",
            "-a.b",
            "a..b",
            "<script>",
            "",
            "a_b.com",
            "@@ana.test",
            "at://at://ana.test",
            "ana.test..",
            &"a.".repeat(1_000),
        ] {
            assert!(Actor::parse(text).is_err(), "{text}");
        }
    }
}
