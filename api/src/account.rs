//! Accounts as every answer shows them: what the stream reported of an account, joined with its
//! profile.
//!
//! ```text
//! accounts ─┬─ view `accounts`, one read ─┐
//!           └─ stored profiles, one read ─┴─ each field as fetched, unless the stream
//!                                            reported another value since ─▶ profile
//! ```
//!
//! Profiles do not belong to a commit. If they cannot be read, the answer shows only what the
//! stream reported.

use serde::Serialize;
use skytide_core::id::{Did, Handle};
use skytide_core::limits::{ADDRESS_BYTES_MAX, HANDLE_BYTES_MAX, NAME_BYTES_MAX, truncate};
use skytide_core::port::profile::{self, StoredProfile, StreamProfile};
use skytide_core::view::{AccountRow, ActorRow, ViewId};

use crate::answer::Rows;
use crate::demand::{ProfileStatus, ShownAccount};
use crate::problem::Problem;

/// An account, as JSON. Its handle and its name are its own claims.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) handle: Option<Box<str>>,
    pub(crate) display_name: Option<Box<str>>,
    /// `null`: no event said whether it is active.
    pub(crate) active: Option<bool>,
    /// `null`: no profile is known, or the account is hidden.
    pub(crate) profile: Option<Profile>,
    /// Why the profile is missing, or how current it is.
    pub(crate) profile_status: ProfileStatus,
}

/// The profile of an account, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Profile {
    pub(crate) handle: Option<Box<str>>,
    pub(crate) name: Option<Box<str>>,
    pub(crate) avatar: Option<Box<str>>,
}

impl Account {
    fn new(
        did: &Did,
        row: Option<AccountRow>,
        stored: Option<StoredProfile>,
        profile_status: ProfileStatus,
    ) -> Self {
        let profile = Profile::join(row.as_ref(), stored);
        let active = row.as_ref().map(|row| row.active);
        let row = row.unwrap_or_default();
        Self {
            did: did.to_string(),
            handle: row.handle,
            display_name: row.display_name,
            active,
            profile,
            profile_status,
        }
    }
}

impl Profile {
    /// Joins what the stream reported with the stored profile. Each field has its fetched value,
    /// unless the stream has reported another value since the fetch.
    fn join(row: Option<&AccountRow>, stored: Option<StoredProfile>) -> Option<Self> {
        if row.is_some_and(|row| !row.active) {
            return None;
        }
        let now = StreamProfile::of(row);
        let fetched = stored.and_then(|stored| Some((limited(stored.profile?), stored.stream)));
        let Some((fetched, at_fetch)) = fetched else {
            let known = now.handle.is_some() || now.display_name.is_some();
            return known.then_some(Self {
                handle: now.handle,
                name: now.display_name,
                avatar: None,
            });
        };
        // The server says `handle.invalid` of an account without a valid handle.
        let fetched_handle = Some(fetched.handle).filter(|it| !Handle::is_invalid(it));
        let new_handle = match at_fetch.handle == now.handle {
            true => None,
            false => now.handle,
        };
        Some(Self {
            handle: new_handle.or(fetched_handle),
            name: match at_fetch.display_name == now.display_name {
                true => fetched.name,
                false => now.display_name,
            },
            avatar: fetched.avatar.filter(|_| at_fetch.avatar == now.avatar),
        })
    }
}

/// Truncates the texts of a fetched profile, and drops an avatar whose address is too long. The
/// store may hold longer ones. The texts of rows are truncated when they are decoded.
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

/// Reads the accounts of `dids`; returns them in the same order.
pub(crate) async fn accounts(rows: &Rows<'_>, dids: &[Did]) -> Result<Vec<Account>, Problem> {
    if dids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Option<AccountRow>> = rows.get(ViewId::Accounts, dids).await?;
    let (stored, statuses) = stored_profiles(rows, dids, &found, true).await;
    let joined = dids.iter().zip(found).zip(stored).zip(statuses);
    Ok(joined
        .map(|(((did, row), stored), status)| Account::new(did, row, stored, status))
        .collect())
}

/// An account that a client named.
pub(crate) struct NamedAccount {
    pub(crate) account: Account,
    /// Whether the stream knows the account.
    pub(crate) is_known: bool,
}

/// Reads an account that a client named. `is_counted`: other rows name it. The profile of an
/// account that the stream does not know is not requested, so that clients cannot choose what is
/// fetched and stored.
pub(crate) async fn named_account(
    rows: &Rows<'_>,
    did: &Did,
    is_counted: bool,
) -> Result<NamedAccount, Problem> {
    let row: Option<AccountRow> = rows.get_one(ViewId::Accounts, did.clone()).await?;
    let mut is_known = is_counted || row.is_some();
    if !is_known {
        let counts: Option<ActorRow> = rows.get_one(ViewId::Actors, did.clone()).await?;
        is_known = counts.is_some();
    }
    let (dids, found) = (std::slice::from_ref(did), std::slice::from_ref(&row));
    let (mut stored, mut statuses) = stored_profiles(rows, dids, found, is_known).await;
    let status = statuses.pop().unwrap_or(ProfileStatus::Unavailable);
    Ok(NamedAccount {
        account: Account::new(did, row, stored.pop().flatten(), status),
        is_known,
    })
}

/// Reads the stored profiles of accounts whose rows have already been read, with their statuses.
async fn stored_profiles(
    rows: &Rows<'_>,
    dids: &[Did],
    found: &[Option<AccountRow>],
    is_known: bool,
) -> (Vec<Option<StoredProfile>>, Vec<ProfileStatus>) {
    let Some(stored) = rows.profiles(dids).await else {
        let unavailable = vec![ProfileStatus::Unavailable; dids.len()];
        return (vec![None; dids.len()], unavailable);
    };
    let shown = dids.iter().zip(found).zip(&stored);
    let shown = shown.map(|((did, row), stored)| ShownAccount {
        did,
        row: row.as_ref(),
        stored: stored.as_ref(),
        is_known,
    });
    let statuses = rows.profile_statuses(&shown.collect::<Vec<_>>()).await;
    (stored, statuses)
}

/// The profile of one account.
pub(crate) struct ShownProfile {
    pub(crate) profile: Option<Profile>,
    pub(crate) status: ProfileStatus,
    pub(crate) stored: Option<StoredProfile>,
}

/// Reads the profile of one account that the stream knows and whose row has already been read.
pub(crate) async fn profile(rows: &Rows<'_>, did: &Did, row: &Option<AccountRow>) -> ShownProfile {
    let (dids, found) = (std::slice::from_ref(did), std::slice::from_ref(row));
    let (mut stored, mut statuses) = stored_profiles(rows, dids, found, true).await;
    let stored = stored.pop().flatten();
    ShownProfile {
        profile: Profile::join(row.as_ref(), stored.clone()),
        stored,
        status: statuses.pop().unwrap_or(ProfileStatus::Unavailable),
    }
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

    /// A profile that was fetched while the view `accounts` had this row.
    fn fetched_at(row: Option<&AccountRow>) -> StoredProfile {
        StoredProfile {
            did: "did:web:ana.test".parse().unwrap(),
            fetched: Timestamp(1),
            stream: StreamProfile::of(row),
            profile: Some(profile::Profile {
                handle: "ana.test".into(),
                name: Some("Ana".into()),
                avatar: Some("https://cdn.test/a".into()),
            }),
        }
    }

    /// Handle, name and avatar of the joined profile.
    fn join(
        row: Option<&AccountRow>,
        stored: Option<StoredProfile>,
    ) -> Option<[Option<String>; 3]> {
        let profile = Profile::join(row, stored)?;
        let texts = [profile.handle, profile.name, profile.avatar];
        Some(texts.map(|text| text.map(Into::into)))
    }

    fn texts(texts: [Option<&str>; 3]) -> Option<[Option<String>; 3]> {
        Some(texts.map(|text| text.map(Into::into)))
    }

    #[test]
    fn a_fetched_field_is_shown_until_the_stream_reports_another_value() {
        let before = row(Some("ana.test"), None, Some("cid1"));
        let avatar = "https://cdn.test/a";
        let all = texts([Some("ana.test"), Some("Ana"), Some(avatar)]);
        assert_eq!(join(Some(&before), Some(fetched_at(Some(&before)))), all);
        assert_eq!(join(None, Some(fetched_at(None))), all);
        let mut invalid = fetched_at(None);
        if let Some(profile) = &mut invalid.profile {
            profile.handle = "Handle.Invalid".into();
        }
        let expected = texts([None, Some("Ana"), Some(avatar)]);
        assert_eq!(join(None, Some(invalid)), expected);

        let now = row(Some("ann.test"), None, Some("cid1"));
        let expected = texts([Some("ann.test"), Some("Ana"), Some(avatar)]);
        assert_eq!(join(Some(&now), Some(fetched_at(Some(&before)))), expected);

        let now = row(Some("ana.test"), Some("Ann"), Some("cid2"));
        let expected = texts([Some("ana.test"), Some("Ann"), None]);
        assert_eq!(join(Some(&now), Some(fetched_at(Some(&before)))), expected);

        // The profile record was deleted: its texts are no longer shown.
        let before = row(None, Some("Ana"), Some("cid1"));
        let now = row(None, None, None);
        let expected = texts([Some("ana.test"), None, None]);
        assert_eq!(join(Some(&now), Some(fetched_at(Some(&before)))), expected);
    }

    #[test]
    fn without_a_fetched_profile_the_streams_is_shown_and_a_hidden_account_shows_none() {
        let now = row(Some("ana.test"), Some("Ana"), Some("cid1"));
        let of_stream = texts([Some("ana.test"), Some("Ana"), None]);
        let not_found = StoredProfile {
            profile: None,
            ..fetched_at(Some(&now))
        };
        assert_eq!(join(Some(&now), None), of_stream);
        assert_eq!(join(Some(&now), Some(not_found)), of_stream);
        assert_eq!(join(Some(&row(None, None, None)), None), None);
        assert_eq!(join(None, None), None);
        let hidden = AccountRow {
            active: false,
            ..now
        };
        assert_eq!(join(Some(&hidden), Some(fetched_at(Some(&hidden)))), None);
    }
}
