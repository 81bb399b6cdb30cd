//! The organisation whose accounts are checked, and the shard of this process. Without an organisation its metrics are
//! absent.

use super::ExporterMetrics;
use super::register::{counters, floats, gauges, opts, register, seconds};
use crate::model::Timestamp;
use crate::source::REASONS;
use crate::source::organization::SHRUNKEN;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeMap;

const NONE: &[&str] = &[];

pub(super) struct Organization {
    up: IntGaugeVec,
    last_success: GaugeVec,
    failures: IntCounterVec,
    accounts: IntGaugeVec,
    unmatched_filters: IntGaugeVec,
    shard_ordinal: IntGauge,
    total_shards: IntGauge,
}

impl Organization {
    pub(super) fn register(registry: &Registry) -> Self {
        let gauge = |opts: Opts| register(registry, IntGauge::with_opts(opts));
        Organization {
            up: gauges(
                registry,
                opts!("organization_up", "Whether the last listing of the organisation's accounts succeeded."),
                NONE,
            ),
            last_success: floats(
                registry,
                opts!(
                    "organization_last_success_timestamp_seconds",
                    "When the last successful listing of the organisation's accounts ended."
                ),
                NONE,
            ),
            failures: counters(
                registry,
                opts!("organization_failures_total", "Failed listings of the organisation's accounts, by reason."),
                &["reason"],
            ),
            accounts: gauges(
                registry,
                opts!("organization_accounts", "Accounts of the organisation by state, over all shards."),
                &["state"],
            ),
            unmatched_filters: gauges(
                registry,
                opts!(
                    "organization_unmatched_filters",
                    "Entries of include and exclude that match no account of the organisation."
                ),
                NONE,
            ),
            shard_ordinal: gauge(opts!("shard_ordinal", "The shard of this process, counted from 0.")),
            total_shards: gauge(opts!("total_shards", "The number of shards that the accounts are divided into.")),
        }
    }
}

impl ExporterMetrics {
    /// The part of the accounts that this process checks, `ordinal` counted from 0.
    pub fn shard(&self, ordinal: u16, total: u16) {
        self.change(|m| {
            m.organization.shard_ordinal.set(ordinal.into());
            m.organization.total_shards.set(total.into());
        });
    }

    /// Whether the configuration has an organisation: its metrics begin, or end.
    pub fn organization_configured(&self, configured: bool) {
        self.change(|m| {
            let metrics = &m.organization;
            if configured {
                // Gets the current value, or starts at zero.
                metrics.up.with_label_values(NONE);
                for reason in REASONS.iter().chain([&SHRUNKEN]) {
                    metrics.failures.with_label_values(&[reason]);
                }
            } else {
                metrics.up.reset();
                metrics.last_success.reset();
                metrics.failures.reset();
                metrics.accounts.reset();
                metrics.unmatched_filters.reset();
            }
        });
    }

    /// A listing of the organisation succeeded.
    pub fn organization_listed(&self, at: Timestamp) {
        self.change(|m| {
            m.organization.up.with_label_values(NONE).set(1);
            m.organization.last_success.with_label_values(NONE).set(seconds(at));
        });
    }

    /// A listing of the organisation failed; `reason` is one of [`REASONS`], or [`SHRUNKEN`].
    pub fn organization_failed(&self, reason: &'static str) {
        self.change(|m| {
            m.organization.up.with_label_values(NONE).set(0);
            m.organization.failures.with_label_values(&[reason]).inc();
        });
    }

    /// The accounts of the organisation by state, and the number of filters that match none of them.
    pub fn organization_accounts(&self, states: &BTreeMap<&'static str, u64>, unmatched_filters: usize) {
        self.change(|m| {
            for (state, count) in states {
                m.organization.accounts.with_label_values(&[state]).set(count.cast_signed());
            }
            let unmatched = i64::try_from(unmatched_filters).unwrap_or(i64::MAX);
            m.organization.unmatched_filters.with_label_values(NONE).set(unmatched);
        });
    }
}
