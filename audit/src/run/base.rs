//! Where an audit starts: at a checkpoint, or at the first message of the log.

use skytide_core::id::Seq;
use skytide_core::port::checkpoint::{Manifest, OpenCheckpoint};
use skytide_core::port::log::Bounds;
use skytide_core::port::store::Committed;

use super::{AuditError, Request, Sources};

/// The state from which an audit starts.
pub(super) struct Base {
    /// The checkpoint; `None` to start from the first message of the log.
    pub checkpoint: Option<Box<dyn OpenCheckpoint>>,
    /// Where reading the log starts: at the tick of the checkpoint's first cut, or at the log's
    /// first message.
    pub from: Seq,
}

/// What an audit of a commit may start from.
pub(super) struct Bases {
    bounds: Bounds,
    end: Seq,
    /// The checkpoints, the newest first.
    pub manifests: Vec<Manifest>,
}

impl Bases {
    /// Finds the checkpoints that end at or before a commit. Replaying the log checks whether it
    /// has the messages that they count.
    pub(super) async fn find(sources: &Sources, committed: &Committed) -> Result<Self, AuditError> {
        let bounds = sources.log.bounds().await?;
        if bounds.id != committed.log_id {
            return Err(AuditError::OtherLog);
        }
        if committed.log_seq >= bounds.next {
            return Err(AuditError::LogEnds {
                epoch: committed.epoch.0,
                wanted: committed.log_seq,
                next: bounds.next,
            });
        }
        let listed = match &sources.checkpoints {
            Some(checkpoints) => checkpoints.list().await?,
            None => Vec::new(),
        };
        let manifests = listed.into_iter().filter_map(|it| it.manifest.ok());
        let usable = manifests.filter(|manifest| {
            let last = &manifest.last;
            last.log_id == committed.log_id
                && last.epoch <= committed.epoch
                // A rebuild from a trimmed log counts less than an older checkpoint does.
                && last.since == committed.since
                && manifest.first.seq >= bounds.first
                && has_same_records(last, committed)
        });
        Ok(Self {
            bounds,
            end: committed.log_seq,
            manifests: usable.collect(),
        })
    }

    /// Opens a checkpoint, or the log for `None`.
    pub(super) async fn open(
        &self,
        sources: &Sources,
        manifest: Option<Manifest>,
        request: &Request,
    ) -> Result<Base, AuditError> {
        let from = manifest
            .as_ref()
            .map_or(self.bounds.first, |it| it.first.seq);
        let bytes = self.log_bytes(from);
        if let Some(max) = request.log_bytes_max.filter(|max| bytes > *max) {
            return Err(AuditError::LongLog { bytes, max });
        }
        let checkpoint = match (manifest, &sources.checkpoints) {
            (Some(manifest), Some(checkpoints)) => Some(checkpoints.open(manifest).await?),
            _ => None,
        };
        Ok(Base { checkpoint, from })
    }

    /// The bytes of the log from a position to the audited commit, estimated from its positions.
    fn log_bytes(&self, from: Seq) -> u64 {
        let Bounds {
            first, next, bytes, ..
        } = self.bounds;
        let all = u128::from(next.0.saturating_sub(first.0).max(1));
        let read = u128::from((self.end.0 + 1).saturating_sub(from.0));
        u64::try_from(u128::from(bytes) * read / all).unwrap_or(u64::MAX)
    }
}

impl Base {
    /// The manifest of the checkpoint.
    pub(super) fn manifest(&self) -> Option<&Manifest> {
        self.checkpoint.as_ref().map(|it| it.manifest())
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
