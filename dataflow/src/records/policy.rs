//! The policy that decides how an account's status affects its facts.

use serde::{Deserialize, Serialize};

/// How an account's status affects its facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountPolicy {
    /// An inactive account's facts are hidden until it is active again; `deleted` erases them.
    #[default]
    ActiveAccountsOnly,
    /// `deleted` erases an account's records; nothing is hidden.
    DeletedAccountsRemoved,
    /// Only operations count; an account's status changes nothing.
    OpsOnly,
}

impl AccountPolicy {
    /// The name of the option's value. It is part of stored formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActiveAccountsOnly => "active_accounts_only",
            Self::DeletedAccountsRemoved => "deleted_accounts_removed",
            Self::OpsOnly => "ops_only",
        }
    }
}
