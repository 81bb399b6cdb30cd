//! Metrics about the exporter itself, kept by the prometheus crate.
//!
//! Each group of metrics is a file: it registers its vectors and changes them in methods of [`ExporterMetrics`]. Those by
//! account are parts of the page, see [`AccountMetrics`].

mod accounts;
mod organization;
mod pacing;
mod program;
mod register;
mod requests;
mod web;

pub use accounts::{ACCOUNT_FAMILIES, AccountFamily, AccountMetrics, UNKNOWN_ACCOUNT};

use super::process::Process;
use super::segment::{Compressor, Segment};
use organization::Organization;
use pacing::Pacing;
use program::Program;
use prometheus::{Encoder, Registry, TextEncoder};
use requests::Requests;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use web::Web;

/// The metrics about the exporter. They change with checks, not with scrapes, and are encoded at the first scrape after
/// a change. What the process uses is read at every scrape.
pub struct ExporterMetrics {
    registry: Registry,
    process: Process,
    groups: Groups,
    /// The number of changes.
    changes: AtomicU64,
    encoded: Mutex<Encoded>,
}

struct Encoded {
    compressor: Compressor,
    /// The last result, and the number of changes that it includes.
    last: Option<(u64, Arc<Segment>)>,
}

/// One field for each group.
struct Groups {
    organization: Organization,
    pacing: Pacing,
    program: Program,
    requests: Requests,
    web: Web,
}

impl ExporterMetrics {
    /// Registers all metrics; `interval` is the configured time between two checks.
    pub fn new(interval: Duration) -> Self {
        let registry = Registry::new();
        let groups = Groups {
            organization: Organization::register(&registry),
            pacing: Pacing::register(&registry),
            program: Program::register(&registry, interval),
            requests: Requests::register(&registry),
            web: Web::register(&registry),
        };
        let encoded = Mutex::new(Encoded { compressor: Compressor::new(), last: None });
        ExporterMetrics { registry, process: Process::current(), groups, changes: AtomicU64::new(0), encoded }
    }

    /// The only way to the groups, so that no change is missed.
    fn change(&self, change: impl FnOnce(&Groups)) {
        change(&self.groups);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The names of all of them, but for `process_*`, which the prometheus crate defines.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        use crate::aws::counting::RequestObserver;
        // A family without a sample is not gathered.
        self.request("iam", "ListUsers", Some("Throttling"));
        self.clock_skew(0);
        self.assembled((1, 1));
        self.web_config_loaded(jiff::Timestamp::UNIX_EPOCH, Some(jiff::Timestamp::UNIX_EPOCH));
        self.organization_configured(true);
        self.organization_listed(jiff::Timestamp::UNIX_EPOCH);
        self.organization_accounts(&std::collections::BTreeMap::from([("active", 1)]), 0);
        let families = self.registry.gather();
        families.iter().map(|f| f.name().to_owned()).collect()
    }

    /// Everything but what the process uses, in Prometheus' text format.
    pub fn own(&self) -> Arc<Segment> {
        // Read first: a change during the encoding makes the next scrape encode again.
        let changes = self.changes.load(Ordering::Acquire);
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, segment)) = &encoded.last
            && *at == changes
        {
            return Arc::clone(segment);
        }
        let mut text = Vec::with_capacity(8192);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        let segment = Arc::new(encoded.compressor.segment(&text));
        encoded.last = Some((changes, Arc::clone(&segment)));
        segment
    }

    /// What the process uses at this moment, the `process_*` family.
    pub fn process(&self) -> Vec<u8> {
        self.process.text().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::counting::RequestObserver;
    use crate::source::REASONS;

    fn own(metrics: &ExporterMetrics) -> String {
        String::from_utf8(metrics.own().text()).unwrap()
    }

    #[test]
    fn without_an_organisation_its_metrics_are_absent() {
        let metrics = ExporterMetrics::new(Duration::from_secs(300));
        metrics.organization_configured(false);
        assert!(!own(&metrics).contains("_organization_"), "{}", own(&metrics));
        metrics.organization_configured(true);
        metrics.organization_failed("shrunken");
        metrics.organization_configured(true);
        let text = own(&metrics);
        for line in [
            "iam_key_exporter_organization_up 0",
            "iam_key_exporter_organization_failures_total{reason=\"shrunken\"} 1",
            "iam_key_exporter_organization_failures_total{reason=\"throttled\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
        assert!(!text.contains("organization_last_success"), "there was none");
        metrics.organization_configured(false);
        assert!(!own(&metrics).contains("_organization_"), "{}", own(&metrics));
    }

    #[test]
    fn every_change_shows_at_once_and_nothing_is_encoded_twice() {
        let metrics = ExporterMetrics::new(Duration::from_secs(300));
        let at = jiff::Timestamp::UNIX_EPOCH;
        let changes: [&dyn Fn(); 12] = [
            &|| metrics.shard(1, 3),
            &|| metrics.organization_configured(true),
            &|| metrics.organization_listed(at),
            &|| metrics.organization_failed(REASONS[0]),
            &|| metrics.organization_accounts(&std::collections::BTreeMap::from([("active", 2)]), 1),
            &|| metrics.assembled((1, 2)),
            &|| metrics.config_loaded(Some(at)),
            &|| metrics.web_config_loaded(at, Some(at)),
            &|| metrics.web_config_failed(),
            &|| metrics.key_detected(Duration::from_secs(5)),
            &|| metrics.request("iam", "ListUsers", Some("Throttling")),
            &|| metrics.clock_skew(3),
        ];
        for (index, change) in changes.iter().enumerate() {
            let before = own(&metrics);
            change();
            let after = metrics.own();
            assert_ne!(before, own(&metrics), "change {index} does not show");
            assert!(Arc::ptr_eq(&after, &metrics.own()), "after change {index} the same was encoded again");
        }
    }
}
