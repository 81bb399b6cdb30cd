//! The web configuration and the certificate of the server. Without them their metrics are absent.

use super::ExporterMetrics;
use super::register::{floats, gauges, opts, seconds};
use prometheus::{GaugeVec, IntGaugeVec, Registry};

const NONE: &[&str] = &[];

pub(super) struct Web {
    reload_successful: IntGaugeVec,
    reload_timestamp: GaugeVec,
    certificate_expiry: GaugeVec,
}

impl Web {
    pub(super) fn register(registry: &Registry) -> Self {
        let reload_successful =
            opts!("web_config_last_reload_successful", "Whether the web configuration was last loaded successfully.");
        let reload_timestamp = opts!(
            "web_config_last_reload_success_timestamp_seconds",
            "When the web configuration was last loaded successfully."
        );
        let certificate_expiry =
            opts!("web_certificate_expiry_timestamp_seconds", "When the certificate of the server expires.");
        Web {
            reload_successful: gauges(registry, reload_successful, NONE),
            reload_timestamp: floats(registry, reload_timestamp, NONE),
            certificate_expiry: floats(registry, certificate_expiry, NONE),
        }
    }
}

impl ExporterMetrics {
    /// The web configuration was loaded at this time, with a certificate that expires then if it has TLS.
    pub fn web_config_loaded(&self, at: jiff::Timestamp, certificate_expiry: Option<jiff::Timestamp>) {
        self.change(|m| {
            m.web.reload_successful.with_label_values(NONE).set(1);
            m.web.reload_timestamp.with_label_values(NONE).set(seconds(at));
            if let Some(at) = certificate_expiry {
                m.web.certificate_expiry.with_label_values(NONE).set(seconds(at));
            }
        });
    }

    /// The web configuration could not be loaded, and the previous one stays in effect.
    pub fn web_config_failed(&self) {
        self.change(|m| m.web.reload_successful.with_label_values(NONE).set(0));
    }
}
