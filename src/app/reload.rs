//! Reloading the configuration on SIGHUP and on request.

use crate::config;
use crate::exposition::exporter::ExporterMetrics;
use crate::http::ReloadReply;
use crate::model::Timestamp;
use crate::policy::Policy;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Reloads the policy on SIGHUP and on request. An invalid file keeps the old policy and sets the metric to 0.
pub(super) async fn run(
    file: Option<PathBuf>,
    mut requests: mpsc::Receiver<ReloadReply>,
    policy: watch::Sender<Arc<Policy>>,
    metrics: Arc<ExporterMetrics>,
) {
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let hung_up = async {
            match &mut hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let reply = tokio::select! {
            _ = hung_up => None,
            Some(reply) = requests.recv() => Some(reply),
        };
        let result = match &file {
            Some(path) => config::read_policy(path),
            None => Ok(policy.borrow().as_ref().clone()),
        };
        let answer = match result {
            Ok(new) => {
                metrics.config_loaded(Some(Timestamp::now()));
                policy.send_replace(Arc::new(new));
                tracing::info!("configuration reloaded");
                Ok(())
            }
            Err(error) => {
                metrics.config_loaded(None);
                tracing::error!(%error, "configuration not reloaded, the old one stays");
                Err(error.to_string())
            }
        };
        if let Some(reply) = reply {
            // The client may have closed its connection.
            let _ = reply.send(answer);
        }
    }
}
