//! Identities that differ from what the stream reports. By default the handle of each account
//! resolves in both directions; the cases make the servers contradict the stream.

use std::collections::BTreeMap;

use skytide_core::id::Did;

use super::feed::{Feed, HostedAccount};

/// Number of accounts that have a case in a network with cases.
const CASES: usize = 7;
/// What an account with [`IdentityCase::Unproven`] and [`IdentityCase::MovedTo`] is named in its
/// document: this, and the handle that the stream reports.
const OTHER_NAME: &str = "other-";

/// How the servers contradict what the stream reports of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityCase {
    /// The account claims a handle that belongs to nobody, and its document names another one: a
    /// stranger's claim.
    Unproven,
    /// The account and this one claim each other's handles: each handle belongs to the other
    /// account.
    SwappedWith(Did),
    /// The handle that the account claims has moved to this account.
    MovedTo(Did),
    /// The account has the handle that this account claims.
    MovedFrom(Did),
    /// The handle belongs to the account, which has no document.
    NoDocument,
}

/// The cases of a network by account.
#[derive(Clone, Debug, Default)]
pub struct IdentityCases(BTreeMap<Did, IdentityCase>);

impl IdentityCases {
    /// One of each case, for the first accounts of a network in the order of their DIDs.
    pub(super) fn of(feed: &dyn Feed) -> Self {
        use IdentityCase::{MovedFrom, MovedTo, NoDocument, SwappedWith, Unproven};
        let dids = feed.dids_after(None, CASES);
        let Ok(dids) = <[Did; CASES]>::try_from(dids) else {
            return Self::default();
        };
        let [unproven, first, second, from, to, undocumented, _] = dids;
        Self(BTreeMap::from([
            (unproven, Unproven),
            (first.clone(), SwappedWith(second.clone())),
            (second, SwappedWith(first)),
            (from.clone(), MovedTo(to.clone())),
            (to, MovedFrom(from)),
            (undocumented, NoDocument),
        ]))
    }

    /// The cases, in the order of the accounts' DIDs.
    pub fn iter(&self) -> impl Iterator<Item = (&Did, &IdentityCase)> {
        self.0.iter()
    }

    /// The account that has a handle.
    pub(super) fn did_of_handle(&self, feed: &dyn Feed, handle: &str) -> Option<Did> {
        if let Some(did) = feed.did_of_handle(handle) {
            return match self.0.get(&did) {
                None | Some(IdentityCase::NoDocument) => Some(did),
                Some(IdentityCase::SwappedWith(other) | IdentityCase::MovedTo(other)) => {
                    Some(other.clone())
                }
                Some(IdentityCase::Unproven | IdentityCase::MovedFrom(_)) => None,
            };
        }
        let did = feed.did_of_handle(handle.strip_prefix(OTHER_NAME)?)?;
        let has_other_name = matches!(
            self.0.get(&did),
            Some(IdentityCase::Unproven | IdentityCase::MovedTo(_))
        );
        has_other_name.then_some(did)
    }

    /// The handle that an account's document names; `None` if it has no document.
    pub(super) fn documented_handle(
        &self,
        feed: &mut dyn Feed,
        account: &HostedAccount,
    ) -> Option<String> {
        match self.0.get(&account.did) {
            None => Some(account.handle.clone()),
            Some(IdentityCase::NoDocument) => None,
            Some(IdentityCase::Unproven | IdentityCase::MovedTo(_)) => {
                Some(format!("{OTHER_NAME}{}", account.handle))
            }
            Some(IdentityCase::SwappedWith(other) | IdentityCase::MovedFrom(other)) => {
                Some(feed.hosted_account(other)?.handle)
            }
        }
    }

    /// The handle that an AppView shows: the documented one if it resolves to the account,
    /// otherwise `handle.invalid`.
    pub(super) fn shown_handle(&self, feed: &mut dyn Feed, account: &HostedAccount) -> String {
        let named = self.documented_handle(feed, account);
        let holder = |handle: &String| self.did_of_handle(&*feed, handle);
        named
            .filter(|handle| holder(handle).as_ref() == Some(&account.did))
            .unwrap_or_else(|| "handle.invalid".to_owned())
    }
}
