//! Where an audit starts: the newest usable checkpoint, or the first message of the log.

use skytide_core::id::Seq;
use skytide_core::port::checkpoint::Manifest;
use skytide_core::port::store::Committed;

use super::{AuditError, Sources};

/// The state from which an audit starts.
#[derive(Debug)]
pub(super) struct Base {
    /// The checkpoint; `None` to start from the first message of the log.
    pub manifest: Option<Manifest>,
    /// Where reading the log starts: at the tick of the checkpoint's first cut, or at the log's
    /// first message.
    pub from: Seq,
}

impl Base {
    /// Finds the newest checkpoint that ends at or before a commit.
    pub(super) async fn find(sources: &Sources, committed: &Committed) -> Result<Self, AuditError> {
        let bounds = sources.log.bounds().await?;
        if bounds.id != committed.log_id {
            return Err(AuditError::OtherLog);
        }
        let listed = match &sources.checkpoints {
            Some(checkpoints) => checkpoints.list().await?,
            None => Vec::new(),
        };
        let manifests = listed.into_iter().filter_map(|it| it.manifest.ok());
        let mut usable = manifests.filter(|manifest| {
            let last = &manifest.last;
            last.log_id == committed.log_id
                && last.epoch <= committed.epoch
                && manifest.first.seq >= bounds.first
                && has_same_records(last, committed)
        });
        Ok(match usable.next() {
            Some(manifest) => Self {
                from: manifest.first.seq,
                manifest: Some(manifest),
            },
            None => Self {
                from: bounds.first,
                manifest: None,
            },
        })
    }
}

/// Whether the same records are live under the account policies of both commits. Only the policy
/// `ops_only` keeps records of deleted accounts.
fn has_same_records(one: &Committed, other: &Committed) -> bool {
    let ops_only = |committed: &Committed| {
        let recipe = committed.recipe.as_ref();
        recipe.is_some_and(|recipe| &*recipe.account_policy == "ops_only")
    };
    ops_only(one) == ops_only(other)
}
