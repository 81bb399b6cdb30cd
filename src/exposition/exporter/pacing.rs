//! How soon new keys are seen.

use super::ExporterMetrics;
use super::register::{opts, register};
use prometheus::{Histogram, HistogramOpts, Registry};
use std::time::Duration;

/// From the fastest sweep to a day, in seconds.
const DELAYS: &[f64] = &[10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 86_400.0];

pub(super) struct Pacing {
    /// Of all accounts together: it has a series for each bucket.
    detection_delay: Histogram,
}

impl Pacing {
    pub(super) fn register(registry: &Registry) -> Self {
        let delay =
            opts!("detection_delay_seconds", "Time from the creation of a new access key until it was exported.");
        let delay = HistogramOpts::from(delay).buckets(DELAYS.to_vec());
        Pacing { detection_delay: register(registry, Histogram::with_opts(delay)) }
    }
}

impl ExporterMetrics {
    /// A new key was exported so long after its creation.
    pub fn key_detected(&self, delay: Duration) {
        self.change(|m| m.pacing.detection_delay.observe(delay.as_secs_f64()));
    }
}
