//! Checks, by account.

use super::ExporterMetrics;
use super::register::{counters, floats, gauges, opts, seconds};
use crate::source::REASONS;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry};
use std::time::Duration;

/// The account's label value until the account is identified.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

pub(super) struct Accounts {
    up: IntGaugeVec,
    last_success: GaugeVec,
    facts: GaugeVec,
    checks: IntCounterVec,
    failures: IntCounterVec,
    last_duration: GaugeVec,
}

impl Accounts {
    pub(super) fn register(registry: &Registry) -> Self {
        let account = &["account_id"];
        let last_success =
            opts!("account_last_success_timestamp_seconds", "When the last successful check of the account ended.");
        Accounts {
            up: gauges(registry, opts!("account_up", "Whether the last check of the account succeeded."), account),
            last_success: floats(registry, last_success, account),
            facts: floats(
                registry,
                opts!("account_facts_timestamp_seconds", "When the facts about the account were true."),
                account,
            ),
            checks: counters(
                registry,
                opts!("checks_total", "Checks of the account that ended, failed ones included."),
                account,
            ),
            failures: counters(
                registry,
                opts!("check_failures_total", "Checks of the account that failed, by reason."),
                &["account_id", "reason"],
            ),
            last_duration: floats(
                registry,
                opts!("last_check_duration_seconds", "How long the last check of the account took."),
                account,
            ),
        }
    }

    fn forget(&self, account_id: &str) {
        // A series that does not exist is an error of the vector, and none here.
        for gauge in [&self.last_success, &self.facts, &self.last_duration] {
            let _ = gauge.remove_label_values(&[account_id]);
        }
        let _ = self.up.remove_label_values(&[account_id]);
        let _ = self.checks.remove_label_values(&[account_id]);
        for reason in REASONS {
            let _ = self.failures.remove_label_values(&[account_id, reason]);
        }
    }

    fn check_ended(&self, account_id: &str, took: Duration) {
        self.checks.with_label_values(&[account_id]).inc();
        self.last_duration.with_label_values(&[account_id]).set(took.as_secs_f64());
    }
}

impl ExporterMetrics {
    /// The account is known, or not yet ([`UNKNOWN_ACCOUNT`]): its counters start at zero, it is not up.
    pub fn account_known(&self, account_id: &str) {
        self.change(|m| {
            if account_id != UNKNOWN_ACCOUNT {
                m.accounts.forget(UNKNOWN_ACCOUNT);
                m.pacing.forget(UNKNOWN_ACCOUNT);
            }
            m.pacing.account_known(account_id);
            m.accounts.up.with_label_values(&[account_id]).set(0);
            m.accounts.checks.with_label_values(&[account_id]);
            for reason in REASONS {
                m.accounts.failures.with_label_values(&[account_id, reason]);
            }
        });
    }

    /// Removes every series of an account.
    pub fn account_forgotten(&self, account_id: &str) {
        self.change(|m| {
            m.accounts.forget(account_id);
            m.pacing.forget(account_id);
        });
    }

    /// A check ended at `now` after `took`; its listing was true at `facts_at`.
    pub fn check_succeeded(&self, account_id: &str, took: Duration, now: jiff::Timestamp, facts_at: jiff::Timestamp) {
        self.change(|m| {
            m.accounts.check_ended(account_id, took);
            m.accounts.up.with_label_values(&[account_id]).set(1);
            m.accounts.last_success.with_label_values(&[account_id]).set(seconds(now));
            m.accounts.facts.with_label_values(&[account_id]).set(seconds(facts_at));
        });
    }

    /// A check failed after `took`; `reason` is one of [`REASONS`].
    pub fn check_failed(&self, account_id: &str, took: Duration, reason: &'static str) {
        self.change(|m| {
            m.accounts.check_ended(account_id, took);
            m.accounts.up.with_label_values(&[account_id]).set(0);
            m.accounts.failures.with_label_values(&[account_id, reason]).inc();
        });
    }
}
