//! What the stream reports of handles: which accounts claim a handle now, and which handle an
//! account claims.

use std::cmp::Reverse;

use skytide_core::id::Did;
use skytide_core::port::store::{Order, Range, ViewReader};
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, HandleKey, HandleRow, Key, ViewId, ViewKey, decode_row};

use crate::answer::{Rows, not_computed};
use crate::problem::Problem;
use crate::target::{Resolved, ResolvedActor, ResolvedBy};

/// Maximum number of claims of one handle that are read.
const CLAIMS_MAX: usize = 1_000;

/// An account that claims a handle, and when it claimed it.
pub(super) type Claim = (Did, Timestamp);

/// The accounts that claim a handle now. An account that has claimed another handle since is not
/// among them.
pub(super) struct Claims {
    pub(super) handle: String,
    newest_first: Vec<Claim>,
    /// Whether there are more claims than were read. The newest one may be among those.
    is_partial: bool,
    /// Whether the commit has the claims. If not, none was read, and there may be any.
    pub(super) is_computed: bool,
}

impl Claims {
    pub(super) async fn read(rows: &Rows<'_>, handle: &str) -> Result<Self, Problem> {
        if !rows.computes(ViewId::Handles) {
            return Ok(Self {
                handle: handle.to_owned(),
                newest_first: Vec::new(),
                is_partial: true,
                is_computed: false,
            });
        }
        let mut prefix = Vec::new();
        handle.to_owned().encode(&mut prefix);
        let range = Range::prefix(Order::First, &prefix, CLAIMS_MAX + 1);
        let claims: Vec<(HandleKey, HandleRow)> = rows.scan(ViewId::Handles, range).await?;
        let is_partial = claims.len() > CLAIMS_MAX;
        let claims = claims.into_iter().take(CLAIMS_MAX);
        let mut newest_first: Vec<Claim> =
            claims.map(|(key, row)| (key.did, row.claimed)).collect();
        newest_first.sort_by_key(|(did, claimed)| Reverse((*claimed, did.clone())));
        Ok(Self {
            handle: handle.to_owned(),
            newest_first,
            is_partial,
            is_computed: true,
        })
    }

    /// The newest claim of those that were read.
    pub(super) fn newest(&self) -> Option<&Claim> {
        self.newest_first.first()
    }

    /// Whether another account has claimed the handle after `time`, or may have.
    pub(super) fn others_since(&self, account: &Did, time: Timestamp) -> bool {
        let is_other = |(did, claimed): &Claim| did != account && *claimed > time;
        self.is_partial || self.newest_first.iter().any(is_other)
    }

    /// The account `did`; verified if there is no reason against it.
    pub(super) fn resolved(
        &self,
        did: &Did,
        by: ResolvedBy,
        reason: Option<String>,
    ) -> ResolvedActor {
        let claimed = self
            .newest_first
            .iter()
            .find(|(claimant, _)| claimant == did);
        let resolved = Resolved {
            handle: self.handle.clone(),
            by,
            verified: reason.is_none(),
            reason,
            claimed: claimed.map(|(_, claimed)| claimed.rfc3339()),
            claims: self.newest_first.len(),
            claims_partial: self.is_partial,
        };
        ResolvedActor {
            did: did.clone(),
            resolved: Some(resolved),
        }
    }

    /// The account of an old profile, else the account that claimed the handle last. `retry`:
    /// whether the network may be asked later.
    ///
    /// # Errors
    /// `view_missing` if there is no profile and the commit does not have the claims.
    pub(super) fn resolved_by_newest(
        &self,
        stored: Option<Did>,
        reason: String,
        retry: bool,
    ) -> Result<ResolvedActor, Problem> {
        if let Some(did) = stored {
            return Ok(self.resolved(&did, ResolvedBy::Profile, Some(reason)));
        }
        if let Some((did, _)) = self.newest() {
            let reason = match self.is_partial {
                true => format!("{reason}; more than {CLAIMS_MAX} accounts claim the handle"),
                false => reason,
            };
            return Ok(self.resolved(did, ResolvedBy::Claim, Some(reason)));
        }
        if !self.is_computed {
            return Err(not_computed(ViewId::Handles));
        }
        let handle = &self.handle;
        let detail = format!("no #identity event named the handle {handle:?}; {reason}");
        Err(match retry {
            true => Problem::unavailable("resolver_unavailable", detail),
            false => Problem::not_found(detail),
        })
    }
}

/// The handle that the stream reports of an account now.
pub(super) async fn reported_handle(
    reader: &dyn ViewReader,
    did: &Did,
) -> Result<Option<Box<str>>, Problem> {
    let rows = reader.get(ViewId::Accounts, &[Key::of(did)]).await?;
    let row = rows.into_iter().flatten().next();
    let row: Option<AccountRow> = row.map(|row| decode_row(&row.row)).transpose()?;
    Ok(row.and_then(|row| row.handle))
}
