//! How checks keep up, by account.

use super::ExporterMetrics;
use super::register::{counters, opts};
use prometheus::{IntCounterVec, Registry};

pub(super) struct Pacing {
    overruns: IntCounterVec,
}

impl Pacing {
    pub(super) fn register(registry: &Registry) -> Self {
        let overruns = opts!(
            "account_check_overruns_total",
            "Checks of the account that were left out because the one before was still running or waiting."
        );
        Pacing { overruns: counters(registry, overruns, &["account_id"]) }
    }

    /// Counters start at zero.
    pub(super) fn account_known(&self, account_id: &str) {
        self.overruns.with_label_values(&[account_id]);
    }

    pub(super) fn forget(&self, account_id: &str) {
        // A series that does not exist is an error of the vector, and none here.
        let _ = self.overruns.remove_label_values(&[account_id]);
    }
}

impl ExporterMetrics {
    /// A check was left out: the one before it was still running, or waiting.
    pub fn check_overran(&self, account_id: &str) {
        self.change(|m| m.pacing.overruns.with_label_values(&[account_id]).inc());
    }
}
