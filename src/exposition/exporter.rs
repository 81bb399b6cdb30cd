//! Metrics about the exporter itself, kept by the prometheus crate.

use crate::aws::counting::RequestObserver;
use crate::source::REASONS;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::time::Duration;

/// The account's label value as long as AWS has not told which it is.
pub const UNKNOWN_ACCOUNT: &str = "unknown";

pub struct ExporterMetrics {
    registry: Registry,
    account_up: IntGaugeVec,
    last_success: GaugeVec,
    facts: GaugeVec,
    checks: IntCounterVec,
    failures: IntCounterVec,
    last_duration: GaugeVec,
    aws_requests: IntCounterVec,
    aws_failures: IntCounterVec,
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
        let metrics = ExporterMetrics {
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
            registry,
        };
        metrics
            .registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the process collector is registered once");
        metrics
    }

    /// The account is known, or not yet ([`UNKNOWN_ACCOUNT`]): its counters start at zero, it is not up.
    pub fn account_known(&self, account_id: &str) {
        if account_id != UNKNOWN_ACCOUNT {
            self.forget(UNKNOWN_ACCOUNT);
        }
        self.account_up.with_label_values(&[account_id]).set(0);
        self.checks.with_label_values(&[account_id]);
        for reason in REASONS {
            self.failures.with_label_values(&[account_id, reason]);
        }
    }

    fn forget(&self, account_id: &str) {
        // Each of these may not have been there.
        let _ = self.account_up.remove_label_values(&[account_id]);
        let _ = self.checks.remove_label_values(&[account_id]);
        let _ = self.last_duration.remove_label_values(&[account_id]);
        for reason in REASONS {
            let _ = self.failures.remove_label_values(&[account_id, reason]);
        }
    }

    pub fn check_succeeded(&self, account_id: &str, took: Duration, now: jiff::Timestamp, facts_at: jiff::Timestamp) {
        self.check_ended(account_id, took);
        self.account_up.with_label_values(&[account_id]).set(1);
        self.last_success.with_label_values(&[account_id]).set(seconds(now));
        self.facts.with_label_values(&[account_id]).set(seconds(facts_at));
    }

    pub fn check_failed(&self, account_id: &str, took: Duration, reason: &'static str) {
        self.check_ended(account_id, took);
        self.account_up.with_label_values(&[account_id]).set(0);
        self.failures.with_label_values(&[account_id, reason]).inc();
    }

    fn check_ended(&self, account_id: &str, took: Duration) {
        self.checks.with_label_values(&[account_id]).inc();
        self.last_duration.with_label_values(&[account_id]).set(took.as_secs_f64());
    }

    pub fn published(&self, plain: usize, gzip: usize) {
        self.exposition_size.with_label_values(&["identity"]).set(plain as i64);
        self.exposition_size.with_label_values(&["gzip"]).set(gzip as i64);
    }

    /// `None`: the configuration could not be loaded, the old one stays.
    pub fn config_loaded(&self, at: Option<jiff::Timestamp>) {
        self.reload_successful.set(i64::from(at.is_some()));
        if let Some(at) = at {
            self.reload_timestamp.set(seconds(at));
        }
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
        self.published(0, 0);
        let families = self.registry.gather();
        families.iter().map(|f| f.name().to_owned()).filter(|n| !n.starts_with("process_")).collect()
    }

    /// All of it in Prometheus' text format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(8192);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        text
    }
}

impl RequestObserver for ExporterMetrics {
    fn request(&self, service: &'static str, operation: &str, failure: Option<&str>) {
        self.aws_requests.with_label_values(&[service, operation]).inc();
        if let Some(code) = failure {
            self.aws_failures.with_label_values(&[service, operation, code]).inc();
        }
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
