//! Metrics about the exporter by account. With thousands of accounts they are most of the exporter's metrics: a change
//! encodes those of its account only.

use super::register::seconds;
use crate::exposition::family::{Kind, Labels, Samples};
use crate::exposition::parts::Parts;
use crate::model::Timestamp;
use crate::source::REASONS;
use std::time::Duration;

/// The account's label value until the account is identified.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

/// The values of one account.
#[derive(Debug, Default)]
pub struct AccountMetrics {
    up: bool,
    last_success: Option<Timestamp>,
    facts: Option<Timestamp>,
    checks: u64,
    /// In the order of [`REASONS`]; shorter before the first failure.
    failures: Vec<u64>,
    last_duration: Option<Duration>,
    overruns: u64,
    throttled: u64,
    sweep_failures: u64,
    oldest_observation: Option<Timestamp>,
}

/// A family of metrics about the exporter with a series, or several, for each account.
pub struct AccountFamily {
    /// The name of the metric.
    pub name: &'static str,
    /// The text of `# HELP`: one sentence.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Writes the samples of an account, which have these labels.
    samples: fn(&AccountMetrics, &Labels, &mut Samples<'_>),
}

/// All of them, in the order of the exposition.
pub static ACCOUNT_FAMILIES: &[AccountFamily] = &[
    AccountFamily {
        name: "iam_key_exporter_account_up",
        help: "Whether the last check of the account succeeded.",
        kind: Kind::Gauge,
        samples: |m, labels, out| out.add(labels, m.up.into()),
    },
    AccountFamily {
        name: "iam_key_exporter_account_last_success_timestamp_seconds",
        help: "When the last successful check of the account ended.",
        kind: Kind::Gauge,
        samples: |m, labels, out| time(m.last_success, labels, out),
    },
    AccountFamily {
        name: "iam_key_exporter_account_facts_timestamp_seconds",
        help: "When the inventory of the account was true.",
        kind: Kind::Gauge,
        samples: |m, labels, out| time(m.facts, labels, out),
    },
    AccountFamily {
        name: "iam_key_exporter_checks_total",
        help: "Checks of the account that ended, failed ones included.",
        kind: Kind::Counter,
        samples: |m, labels, out| out.add(labels, m.checks.cast_signed()),
    },
    AccountFamily {
        name: "iam_key_exporter_check_failures_total",
        help: "Checks of the account that failed, by reason.",
        kind: Kind::Counter,
        samples: failures,
    },
    AccountFamily {
        name: "iam_key_exporter_last_check_duration_seconds",
        help: "How long the last check of the account took.",
        kind: Kind::Gauge,
        samples: |m, labels, out| {
            if let Some(took) = m.last_duration {
                out.add_float(labels, took.as_secs_f64());
            }
        },
    },
    AccountFamily {
        name: "iam_key_exporter_account_check_overruns_total",
        help: "Checks of the account that were left out because the one before was still running or waiting.",
        kind: Kind::Counter,
        samples: |m, labels, out| out.add(labels, m.overruns.cast_signed()),
    },
    AccountFamily {
        name: "iam_key_exporter_account_oldest_observation_timestamp_seconds",
        help: "When the oldest observation of a user of the account was true.",
        kind: Kind::Gauge,
        samples: |m, labels, out| time(m.oldest_observation, labels, out),
    },
    AccountFamily {
        name: "iam_key_exporter_account_sweep_failures_total",
        help: "Times that users of the account could not be read between checks.",
        kind: Kind::Counter,
        samples: |m, labels, out| out.add(labels, m.sweep_failures.cast_signed()),
    },
    AccountFamily {
        name: "iam_key_exporter_account_throttled_requests_total",
        help: "Requests for the account that AWS throttled, retries included.",
        kind: Kind::Counter,
        samples: |m, labels, out| out.add(labels, m.throttled.cast_signed()),
    },
];

fn time(at: Option<Timestamp>, labels: &Labels, out: &mut Samples<'_>) {
    if let Some(at) = at {
        out.add_float(labels, seconds(at));
    }
}

fn failures(metrics: &AccountMetrics, labels: &Labels, out: &mut Samples<'_>) {
    let mut labels = labels.clone();
    let length = labels.len();
    for (index, reason) in REASONS.iter().enumerate() {
        labels.truncate(length);
        labels.push("reason", reason);
        out.add(&labels, metrics.failures.get(index).map_or(0, |count| count.cast_signed()));
    }
}

impl AccountFamily {
    /// The samples of an account.
    pub(in crate::exposition) fn text(&self, account_id: &str, metrics: &AccountMetrics) -> Vec<u8> {
        let mut text = Vec::new();
        let labels = Labels::new(&[("account_id", account_id)]);
        (self.samples)(metrics, &labels, &mut Samples::new(&mut text, self.name));
        text
    }
}

impl AccountMetrics {
    pub(in crate::exposition) fn succeeded(&mut self, took: Duration, now: Timestamp, facts_at: Timestamp) {
        self.ended(took);
        (self.up, self.last_success, self.facts) = (true, Some(now), Some(facts_at));
    }

    pub(in crate::exposition) fn failed(&mut self, took: Duration, reason: &'static str) {
        self.ended(took);
        self.up = false;
        self.failures.resize(REASONS.len(), 0);
        if let Some(index) = REASONS.iter().position(|known| *known == reason) {
            self.failures[index] += 1;
        }
    }

    fn ended(&mut self, took: Duration) {
        self.checks += 1;
        self.last_duration = Some(took);
    }
}

impl Parts {
    /// The account is known, or not yet ([`UNKNOWN_ACCOUNT`]): its counters start at zero, it is not up.
    pub fn account_known(&self, account_id: &str) {
        self.change(account_id, |m| m.up = false);
    }

    /// A check ended at `now` after `took`; its listing was true at `facts_at`.
    pub fn check_succeeded(&self, account_id: &str, took: Duration, now: Timestamp, facts_at: Timestamp) {
        self.change(account_id, |m| m.succeeded(took, now, facts_at));
    }

    /// A check failed after `took`; `reason` is one of [`REASONS`].
    pub fn check_failed(&self, account_id: &str, took: Duration, reason: &'static str) {
        self.change(account_id, |m| m.failed(took, reason));
    }

    /// A check was left out: the one before it was still running, or waiting.
    pub fn check_overran(&self, account_id: &str) {
        self.change(account_id, |m| m.overruns += 1);
    }

    /// AWS has throttled so many more requests.
    pub fn requests_throttled(&self, account_id: &str, requests: u64) {
        self.change(account_id, |m| m.throttled += requests);
    }

    /// Users could not be read between checks.
    pub fn sweep_failed(&self, account_id: &str) {
        self.change(account_id, |m| m.sweep_failures += 1);
    }

    /// The oldest observation of a user was true at this time.
    pub fn oldest_observation(&self, account_id: &str, at: Timestamp) {
        self.change(account_id, |m| m.oldest_observation = Some(at));
    }
}
