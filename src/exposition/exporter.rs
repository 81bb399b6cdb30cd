//! Metrics about the exporter itself, kept by the prometheus crate.

use super::page::{Compressor, Segment};
use super::process::Process;
use crate::aws::counting::RequestObserver;
use crate::source::REASONS;
use prometheus::{Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The account's label value until the account is identified.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

/// The metrics about the exporter. They change with checks, not with scrapes, and are encoded at the first scrape after
/// a change. What the process uses is read at every scrape.
pub struct ExporterMetrics {
    registry: Registry,
    process: Process,
    vectors: Vectors,
    /// The number of changes.
    changes: AtomicU64,
    encoded: Mutex<Encoded>,
}

struct Encoded {
    compressor: Compressor,
    /// The last result, and the number of changes that it includes.
    last: Option<(u64, Arc<Segment>)>,
}

struct Vectors {
    account_up: IntGaugeVec,
    last_success: GaugeVec,
    facts: GaugeVec,
    checks: IntCounterVec,
    failures: IntCounterVec,
    last_duration: GaugeVec,
    aws_requests: IntCounterVec,
    aws_failures: IntCounterVec,
    /// Without labels; a vector, so that it is absent until it is known.
    clock_skew: IntGaugeVec,
    exposition_size: IntGaugeVec,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
}

/// A metric of ours: the prefix is added.
macro_rules! opts {
    ($name:literal, $help:literal) => {
        Opts::new(concat!("iam_key_exporter_", $name), $help)
    };
}

impl ExporterMetrics {
    /// Registers all metrics; `interval` is the configured time between two checks.
    pub fn new(interval: Duration) -> Self {
        let registry = Registry::new();
        let version = env!("CARGO_PKG_VERSION");
        let revision = option_env!("IAM_KEY_EXPORTER_REVISION").unwrap_or("unknown");

        let build_info =
            gauges(&registry, opts!("build_info", "Version and revision of the exporter."), &["version", "revision"]);
        build_info.with_label_values(&[version, revision]).set(1);
        let interval_seconds = register(
            &registry,
            Gauge::with_opts(opts!("check_interval_seconds", "Configured time between two checks.")),
        );
        interval_seconds.set(interval.as_secs_f64());

        let account = &["account_id"];
        let vectors = Vectors {
            account_up: gauges(
                &registry,
                opts!("account_up", "Whether the last check of the account succeeded."),
                account,
            ),
            last_success: floats(
                &registry,
                opts!("account_last_success_timestamp_seconds", "When the last successful check of the account ended."),
                account,
            ),
            facts: floats(
                &registry,
                opts!("account_facts_timestamp_seconds", "When the facts about the account were true."),
                account,
            ),
            checks: counters(
                &registry,
                opts!("checks_total", "Checks of the account that ended, failed ones included."),
                account,
            ),
            failures: counters(
                &registry,
                opts!("check_failures_total", "Checks of the account that failed, by reason."),
                &["account_id", "reason"],
            ),
            last_duration: floats(
                &registry,
                opts!("last_check_duration_seconds", "How long the last check of the account took."),
                account,
            ),
            aws_requests: counters(
                &registry,
                opts!("aws_requests_total", "Requests to AWS, retries included."),
                &["service", "operation"],
            ),
            aws_failures: counters(
                &registry,
                opts!("aws_request_failures_total", "Requests to AWS that failed, by error code."),
                &["service", "operation", "code"],
            ),
            clock_skew: gauges(
                &registry,
                opts!("clock_skew_seconds", "AWS's time minus the local time, by the last answer of AWS."),
                &[],
            ),
            exposition_size: gauges(
                &registry,
                opts!("exposition_size_bytes", "Size of the facts in a scrape."),
                &["encoding"],
            ),
            reload_successful: register(
                &registry,
                IntGauge::with_opts(opts!(
                    "config_last_reload_successful",
                    "Whether the configuration was last loaded successfully."
                )),
            ),
            reload_timestamp: register(
                &registry,
                Gauge::with_opts(opts!(
                    "config_last_reload_success_timestamp_seconds",
                    "When the configuration was last loaded successfully."
                )),
            ),
        };
        let encoded = Mutex::new(Encoded { compressor: Compressor::new(), last: None });
        ExporterMetrics { registry, process: Process::current(), vectors, changes: AtomicU64::new(0), encoded }
    }

    /// The account is known, or not yet ([`UNKNOWN_ACCOUNT`]): its counters start at zero, it is not up.
    pub fn account_known(&self, account_id: &str) {
        self.change(|m| {
            if account_id != UNKNOWN_ACCOUNT {
                m.forget(UNKNOWN_ACCOUNT);
            }
            m.account_up.with_label_values(&[account_id]).set(0);
            m.checks.with_label_values(&[account_id]);
            for reason in REASONS {
                m.failures.with_label_values(&[account_id, reason]);
            }
        });
    }

    /// Removes every series of an account.
    pub fn account_forgotten(&self, account_id: &str) {
        self.change(|m| m.forget(account_id));
    }

    /// A check ended at `now` after `took`; its listing was true at `facts_at`.
    pub fn check_succeeded(&self, account_id: &str, took: Duration, now: jiff::Timestamp, facts_at: jiff::Timestamp) {
        self.change(|m| {
            m.check_ended(account_id, took);
            m.account_up.with_label_values(&[account_id]).set(1);
            m.last_success.with_label_values(&[account_id]).set(seconds(now));
            m.facts.with_label_values(&[account_id]).set(seconds(facts_at));
        });
    }

    /// A check failed after `took`; `reason` is one of [`REASONS`].
    pub fn check_failed(&self, account_id: &str, took: Duration, reason: &'static str) {
        self.change(|m| {
            m.check_ended(account_id, took);
            m.account_up.with_label_values(&[account_id]).set(0);
            m.failures.with_label_values(&[account_id, reason]).inc();
        });
    }

    /// A page was published: its size in bytes, as plain text and compressed.
    pub fn published(&self, plain: usize, gzip: usize) {
        self.change(|m| {
            m.exposition_size.with_label_values(&["identity"]).set(plain as i64);
            m.exposition_size.with_label_values(&["gzip"]).set(gzip as i64);
        });
    }

    /// The configuration was loaded at this time; `None` if it could not be, and the previous one stays in effect.
    pub fn config_loaded(&self, at: Option<jiff::Timestamp>) {
        self.change(|m| {
            m.reload_successful.set(i64::from(at.is_some()));
            if let Some(at) = at {
                m.reload_timestamp.set(seconds(at));
            }
        });
    }

    /// The only way to the vectors, so that no change is missed.
    fn change(&self, change: impl FnOnce(&Vectors)) {
        change(&self.vectors);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The names of all of them, but for `process_*`, which the prometheus crate defines.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        use crate::aws::counting::RequestObserver;
        use jiff::Timestamp;
        // A family without a sample is not gathered.
        self.account_known("1");
        self.check_succeeded("1", Duration::ZERO, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        self.request("iam", "ListUsers", Some("Throttling"));
        self.clock_skew(0);
        self.published(0, 0);
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

impl Vectors {
    fn forget(&self, account_id: &str) {
        // A series that does not exist is an error of the vector, and none here.
        for gauge in [&self.last_success, &self.facts, &self.last_duration] {
            let _ = gauge.remove_label_values(&[account_id]);
        }
        let _ = self.account_up.remove_label_values(&[account_id]);
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

impl RequestObserver for ExporterMetrics {
    fn request(&self, service: &'static str, operation: &str, failure: Option<&'static str>) {
        self.change(|m| {
            m.aws_requests.with_label_values(&[service, operation]).inc();
            if let Some(code) = failure {
                m.aws_failures.with_label_values(&[service, operation, code]).inc();
            }
        });
    }

    fn clock_skew(&self, seconds: i64) {
        self.change(|m| m.clock_skew.with_label_values(&[] as &[&str]).set(seconds));
    }
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("names and labels are constants");
    registry.register(Box::new(metric.clone())).expect("every metric is registered once");
    metric
}

fn gauges(registry: &Registry, opts: Opts, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts, labels))
}

fn floats(registry: &Registry, opts: Opts, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(opts, labels))
}

fn counters(registry: &Registry, opts: Opts, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(metrics: &ExporterMetrics) -> String {
        String::from_utf8(metrics.own().plain().to_vec()).unwrap()
    }

    #[test]
    fn a_forgotten_account_has_no_series() {
        let metrics = ExporterMetrics::new(Duration::from_secs(300));
        let at = jiff::Timestamp::UNIX_EPOCH;
        metrics.account_known("123456789012");
        metrics.check_failed("123456789012", Duration::ZERO, REASONS[0]);
        metrics.check_succeeded("123456789012", Duration::ZERO, at, at);
        metrics.account_forgotten("123456789012");
        assert!(!own(&metrics).contains("123456789012"), "{}", own(&metrics));
    }

    #[test]
    fn every_change_shows_at_once_and_nothing_is_encoded_twice() {
        let metrics = ExporterMetrics::new(Duration::from_secs(300));
        let at = jiff::Timestamp::UNIX_EPOCH;
        let took = Duration::from_secs(1);
        let changes: [&dyn Fn(); 9] = [
            &|| metrics.account_known(UNKNOWN_ACCOUNT),
            &|| metrics.account_known("123456789012"),
            &|| metrics.check_succeeded("123456789012", took, at, at),
            &|| metrics.check_failed("123456789012", took, REASONS[0]),
            &|| metrics.published(1, 2),
            &|| metrics.config_loaded(Some(at)),
            &|| metrics.request("iam", "ListUsers", Some("Throttling")),
            &|| metrics.clock_skew(3),
            &|| metrics.account_forgotten("123456789012"),
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
