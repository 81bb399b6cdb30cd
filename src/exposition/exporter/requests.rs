//! Requests to AWS.

use super::ExporterMetrics;
use super::register::{counters, gauges, opts};
use crate::aws::counting::RequestObserver;
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

pub(super) struct Requests {
    requests: IntCounterVec,
    failures: IntCounterVec,
    /// Without labels; a vector, so that it is absent until it is known.
    clock_skew: IntGaugeVec,
}

impl Requests {
    pub(super) fn register(registry: &Registry) -> Self {
        Requests {
            requests: counters(
                registry,
                opts!("aws_requests_total", "Requests to AWS, retries included."),
                &["service", "operation"],
            ),
            failures: counters(
                registry,
                opts!("aws_request_failures_total", "Requests to AWS that failed, by error code."),
                &["service", "operation", "code"],
            ),
            clock_skew: gauges(
                registry,
                opts!("clock_skew_seconds", "AWS's time minus the local time, by the last answer of AWS."),
                &[],
            ),
        }
    }
}

impl RequestObserver for ExporterMetrics {
    fn request(&self, service: &'static str, operation: &str, failure: Option<&'static str>) {
        self.change(|m| {
            m.requests.requests.with_label_values(&[service, operation]).inc();
            if let Some(code) = failure {
                m.requests.failures.with_label_values(&[service, operation, code]).inc();
            }
        });
    }

    fn clock_skew(&self, seconds: i64) {
        self.change(|m| m.requests.clock_skew.with_label_values(&[] as &[&str]).set(seconds));
    }
}
