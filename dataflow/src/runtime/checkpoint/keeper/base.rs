//! The checkpoint whose runs the next one shares: its runs are opened and verified, and it is given
//! up if they cannot be used.

use std::sync::Arc;

use super::{Keeper, Progress};
use crate::records::SHARDS;
use crate::runtime::checkpoint::Base;
use crate::runtime::checkpoint::runs::BaseState;

/// The shards whose runs are verified after each checkpoint.
pub(super) const SHARDS_VERIFIED: u16 = 4;
/// The number of failures to read the base, without a success between them, after which it is given
/// up.
const BASE_FAILURES_MAX: u32 = 2;

impl Keeper {
    /// Sets the base of the next checkpoint. Without one, what is in memory stays there: the next
    /// checkpoint contains everything, and reads what was evicted before.
    pub(super) fn set_base(&mut self, base: Option<Base>) {
        if base.is_none() {
            self.gate.set_open_runs(None);
        }
        self.gate.set_base(base.as_ref().map(|it| it.id));
        self.base = base;
    }

    /// Gives up the base if a failure says that it cannot be used, so that the next checkpoint
    /// contains everything, from memory.
    pub(super) async fn check_base(&mut self, progress: &mut Progress, state: BaseState) {
        if state != BaseState::Unknown {
            progress.base_failures += 1;
            self.metrics.runs.failures.inc();
        }
        let given_up = state == BaseState::Damaged || progress.base_failures >= BASE_FAILURES_MAX;
        if given_up || !self.has_base().await {
            progress.base_failures = 0;
            self.set_base(None);
        }
    }

    /// Verifies the runs of some shards of the base, other ones after each checkpoint. Otherwise
    /// damage in a run that is only shared would be found by a restart, which needs the run.
    pub(super) async fn verify_runs(&mut self, progress: &mut Progress) {
        let Some(base) = &self.base else {
            return;
        };
        let from = progress.verify_next % SHARDS;
        let to = SHARDS.min(from + SHARDS_VERIFIED);
        progress.verify_next = to;
        match base.verify(self.checkpoints.as_ref(), from..to).await {
            Ok(verified) => {
                progress.base_failures = 0;
                self.metrics.runs.verified.inc_by(verified);
            }
            Err(error) => {
                self.warn(
                    "a run of the newest checkpoint cannot be verified: if it is damaged, the next \
                     checkpoint contains everything",
                    error.as_ref(),
                );
                let state = BaseState::of(error.as_ref());
                self.check_base(progress, state).await;
            }
        }
    }

    /// Opens the runs of the base, so that workers can evict records. If that fails, workers use
    /// the previous ones and keep in memory what these do not have.
    pub(super) async fn open_runs(&self) {
        let (Some(base), Some(max)) = (&self.base, self.hot_records_max) else {
            return;
        };
        let previous = self.gate.open_runs();
        let opened = base.open(self.checkpoints.as_ref(), previous.as_deref(), max);
        match opened.await {
            Ok(open) => self.gate.set_open_runs(Some(Arc::new(open))),
            Err(error) => self.warn(
                "the runs of a checkpoint could not be opened: records stay in memory",
                error.as_ref(),
            ),
        }
    }

    /// Whether the checkpoint whose runs the next one shares is complete and listed.
    async fn has_base(&self) -> bool {
        let Some(Base { id: (epoch, _), .. }) = self.base else {
            return true;
        };
        match self.checkpoints.list().await {
            Ok(listed) => listed
                .iter()
                .any(|it| it.checkpoint == epoch && it.manifest.is_ok()),
            // The next attempt decides.
            Err(_) => true,
        }
    }
}
