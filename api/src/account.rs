//! Accounts as every answer shows them: what the stream tells of each, and its profile.
//!
//! ```text
//! accounts ─┬─ view `accounts`, one read ─┐
//!           └─ kept profiles, one read ───┴─ fetched, where the stream has told nothing else since ─▶ profile
//! ```
//!
//! Profiles are no rows of a commit. If they cannot be read, the answer does with what the stream tells.

use serde::Serialize;
use skytide_core::id::Did;
use skytide_core::limits::{ADDRESS_BYTES_MAX, HANDLE_BYTES_MAX, NAME_BYTES_MAX, truncate};
use skytide_core::port::profile::{self, StoredProfile, StreamProfile};
use skytide_core::view::{AccountRow, ViewId};

use crate::answer::Rows;
use crate::problem::Problem;

/// An account, as JSON. Names are what the account says of itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) handle: Option<Box<str>>,
    pub(crate) display_name: Option<Box<str>>,
    /// `null`: no event told.
    pub(crate) active: Option<bool>,
    /// `null`: nothing is known, or the account is hidden.
    pub(crate) profile: Option<Profile>,
}

/// How an account shows itself, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Profile {
    pub(crate) handle: Option<Box<str>>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) avatar: Option<Box<str>>,
}

impl Account {
    fn new(did: &Did, row: Option<AccountRow>, kept: Option<StoredProfile>) -> Self {
        let profile = Profile::of(row.as_ref(), kept);
        let active = row.as_ref().map(|row| row.active);
        let row = row.unwrap_or_default();
        Self {
            did: did.to_string(),
            handle: row.handle,
            display_name: row.display_name,
            active,
            profile,
        }
    }
}

impl Profile {
    /// Each field as it was fetched, unless the stream has told another one since.
    fn of(row: Option<&AccountRow>, kept: Option<StoredProfile>) -> Option<Self> {
        if row.is_some_and(|row| !row.active) {
            return None;
        }
        let told = StreamProfile::of(row);
        let fetched = kept.and_then(|kept| Some((limited(kept.profile?), kept.stream)));
        let Some((fetched, then)) = fetched else {
            let known = told.handle.is_some() || told.display_name.is_some();
            return known.then_some(Self {
                handle: told.handle,
                name: told.display_name,
                avatar: None,
            });
        };
        let news = match then.handle == told.handle {
            true => None,
            false => told.handle,
        };
        Some(Self {
            handle: news.or(Some(fetched.handle)),
            name: match then.display_name == told.display_name {
                true => fetched.name,
                false => told.display_name,
            },
            avatar: fetched.avatar.filter(|_| then.avatar == told.avatar),
        })
    }
}

/// A fetched profile with its texts truncated, in whichever store it was. Texts of rows are truncated when read.
fn limited(mut fetched: profile::Profile) -> profile::Profile {
    if let Some(name) = &mut fetched.name {
        truncate(name, NAME_BYTES_MAX);
    }
    truncate(&mut fetched.handle, HANDLE_BYTES_MAX);
    fetched.avatar = fetched
        .avatar
        .filter(|address| address.len() <= ADDRESS_BYTES_MAX);
    fetched
}

/// The accounts of `dids`, in their order.
pub(crate) async fn accounts(rows: &Rows<'_>, dids: &[Did]) -> Result<Vec<Account>, Problem> {
    if dids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Option<AccountRow>> = rows.get(ViewId::Accounts, dids).await?;
    let kept = rows.profiles(dids).await;
    let joined = dids.iter().zip(found).zip(kept);
    Ok(joined
        .map(|((did, row), kept)| Account::new(did, row, kept))
        .collect())
}

/// The profile of one account whose row was read.
pub(crate) async fn profile(
    rows: &Rows<'_>,
    did: &Did,
    row: Option<&AccountRow>,
) -> Option<Profile> {
    let kept = rows.profiles(std::slice::from_ref(did)).await.pop();
    Profile::of(row, kept.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::time::Timestamp;

    fn row(handle: Option<&str>, name: Option<&str>, avatar: Option<&str>) -> AccountRow {
        AccountRow {
            handle: handle.map(Into::into),
            display_name: name.map(Into::into),
            avatar: avatar.map(Into::into),
            active: true,
            ..AccountRow::default()
        }
    }

    /// Fetched when the stream had told what this row says.
    fn kept(then: Option<&AccountRow>) -> StoredProfile {
        StoredProfile {
            did: "did:web:ana.test".parse().unwrap(),
            fetched: Timestamp(1),
            stream: StreamProfile::of(then),
            profile: Some(profile::Profile {
                handle: "ana.test".into(),
                name: Some("Ana".into()),
                avatar: Some("https://cdn.test/a".into()),
            }),
        }
    }

    fn shown(now: Option<&AccountRow>, kept: Option<StoredProfile>) -> Option<[Option<String>; 3]> {
        let profile = Profile::of(now, kept)?;
        let texts = [profile.handle, profile.name, profile.avatar];
        Some(texts.map(|text| text.map(Into::into)))
    }

    fn texts(texts: [Option<&str>; 3]) -> Option<[Option<String>; 3]> {
        Some(texts.map(|text| text.map(Into::into)))
    }

    #[test]
    fn a_fetched_field_counts_until_the_stream_tells_another_one() {
        let then = row(Some("ana.test"), None, Some("cid1"));
        let picture = "https://cdn.test/a";
        let all = texts([Some("ana.test"), Some("Ana"), Some(picture)]);
        assert_eq!(shown(Some(&then), Some(kept(Some(&then)))), all);
        assert_eq!(shown(None, Some(kept(None))), all);

        let now = row(Some("ann.test"), None, Some("cid1"));
        let news = texts([Some("ann.test"), Some("Ana"), Some(picture)]);
        assert_eq!(shown(Some(&now), Some(kept(Some(&then)))), news);

        let now = row(Some("ana.test"), Some("Ann"), Some("cid2"));
        let news = texts([Some("ana.test"), Some("Ann"), None]);
        assert_eq!(shown(Some(&now), Some(kept(Some(&then)))), news);

        // The profile record was deleted: what it said is shown no more.
        let then = row(None, Some("Ana"), Some("cid1"));
        let now = row(None, None, None);
        let news = texts([Some("ana.test"), None, None]);
        assert_eq!(shown(Some(&now), Some(kept(Some(&then)))), news);
    }

    #[test]
    fn without_a_fetched_profile_the_streams_counts_and_a_hidden_account_has_none() {
        let now = row(Some("ana.test"), Some("Ana"), Some("cid1"));
        let told = texts([Some("ana.test"), Some("Ana"), None]);
        let unknown = StoredProfile {
            profile: None,
            ..kept(Some(&now))
        };
        assert_eq!(shown(Some(&now), None), told);
        assert_eq!(shown(Some(&now), Some(unknown)), told);
        assert_eq!(shown(Some(&row(None, None, None)), None), None);
        assert_eq!(shown(None, None), None);
        let hidden = AccountRow {
            active: false,
            ..now
        };
        assert_eq!(shown(Some(&hidden), Some(kept(Some(&hidden)))), None);
    }
}
