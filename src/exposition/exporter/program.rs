//! The program: its build, its configuration, the size of its exposition.

use super::ExporterMetrics;
use super::register::{gauges, opts, register, seconds};
use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry};
use std::time::Duration;

pub(super) struct Program {
    exposition_size: IntGaugeVec,
    reload_successful: IntGauge,
    reload_timestamp: Gauge,
}

impl Program {
    pub(super) fn register(registry: &Registry, interval: Duration) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let revision = option_env!("IAM_KEY_EXPORTER_REVISION").unwrap_or("unknown");
        let build_info =
            gauges(registry, opts!("build_info", "Version and revision of the exporter."), &["version", "revision"]);
        build_info.with_label_values(&[version, revision]).set(1);
        let interval_seconds = register(
            registry,
            Gauge::with_opts(opts!("check_interval_seconds", "Configured time between two checks.")),
        );
        interval_seconds.set(interval.as_secs_f64());
        let reload_successful =
            opts!("config_last_reload_successful", "Whether the configuration was last loaded successfully.");
        let reload_timestamp = opts!(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded successfully."
        );
        Program {
            exposition_size: gauges(
                registry,
                opts!("exposition_size_bytes", "Size of the inventory metrics in a scrape."),
                &["encoding"],
            ),
            reload_successful: register(registry, IntGauge::with_opts(reload_successful)),
            reload_timestamp: register(registry, Gauge::with_opts(reload_timestamp)),
        }
    }
}

impl ExporterMetrics {
    /// A page was put together: the size of its inventory metrics in bytes, as plain text and compressed.
    pub fn assembled(&self, (plain, gzip): (u64, u64)) {
        let sizes = [("identity", plain.cast_signed()), ("gzip", gzip.cast_signed())];
        let size = |encoding: &str| self.groups.program.exposition_size.with_label_values(&[encoding]);
        if sizes.iter().any(|(encoding, bytes)| size(encoding).get() != *bytes) {
            self.change(|_| sizes.iter().for_each(|(encoding, bytes)| size(encoding).set(*bytes)));
        }
    }

    /// The configuration was loaded at this time; `None` if it could not be, and the previous one stays in effect.
    pub fn config_loaded(&self, at: Option<jiff::Timestamp>) {
        self.change(|m| {
            m.program.reload_successful.set(i64::from(at.is_some()));
            if let Some(at) = at {
                m.program.reload_timestamp.set(seconds(at));
            }
        });
    }
}
