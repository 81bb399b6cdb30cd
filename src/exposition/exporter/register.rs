//! Registers vectors of the prometheus crate. Names and labels are constants, so that failures are defects.

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// A metric of ours: the prefix is added.
macro_rules! opts {
    ($name:literal, $help:literal) => {
        prometheus::Opts::new(concat!("iam_key_exporter_", $name), $help)
    };
}
pub(super) use opts;

pub(super) fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("names and labels are constants");
    registry.register(Box::new(metric.clone())).expect("every metric is registered once");
    metric
}

pub(super) fn gauges(registry: &Registry, opts: Opts, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(opts, labels))
}

pub(super) fn floats(registry: &Registry, opts: Opts, labels: &[&str]) -> GaugeVec {
    register(registry, GaugeVec::new(opts, labels))
}

pub(super) fn counters(registry: &Registry, opts: Opts, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts, labels))
}

/// Unix time in seconds, as all timestamps are exposed.
pub(super) fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
