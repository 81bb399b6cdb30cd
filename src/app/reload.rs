//! Reloading the configuration on SIGHUP and on request.
//!
//! A reload loads the configuration as the start did, so an invalid one is refused as a whole, and takes over policy,
//! exemptions and accounts. Reading happens on a thread for blocking calls and for a limited time: a file may be on a network file
//! system that hangs, which must neither stop scrapes nor the end of the process.

use crate::config::{Config, ConfigError};
use crate::exposition::exporter::ExporterMetrics;
use crate::http::{ReloadOutcome, Reloads};
use crate::model::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Long for a small file on a slow volume.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests within this time after a reload started are merged into the next one.
const PAUSE: Duration = Duration::from_secs(1);
/// A thread that blocks in a read cannot be stopped. With so many of them, further reloads fail.
const MAX_BLOCKED_READS: usize = 4;

/// Loads the configuration with the arguments and the environment of the start.
pub(super) type Load = dyn Fn() -> Result<Config, ConfigError> + Send + Sync;

/// Replaces policy and accounts when asked to. An invalid configuration keeps the previous policy and sets the metric to 0.
pub(super) struct Reloader {
    running: Config,
    load: Arc<Load>,
    reads: Arc<Semaphore>,
    hangup: Signal,
    config: watch::Sender<Arc<Config>>,
    metrics: Arc<ExporterMetrics>,
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    #[error("reading the configuration took longer than {} seconds", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error("{MAX_BLOCKED_READS} earlier reads of the configuration still block")]
    Blocked,
    #[error("reading the configuration panicked")]
    Panicked,
}

impl ReloadError {
    /// For clients, who must not see the configuration: a message can quote it.
    fn public(&self) -> &'static str {
        match self {
            ReloadError::Invalid(_) => "it is invalid; the log has the details",
            ReloadError::Timeout | ReloadError::Blocked => "it could not be read in time",
            ReloadError::Panicked => "internal error; the log has the details",
        }
    }
}

impl Reloader {
    /// Takes over SIGHUP. `running` is what the process was started with.
    ///
    /// # Errors
    /// When the system refuses to register a handler.
    pub(super) fn install(
        running: Config,
        load: Arc<Load>,
        config: watch::Sender<Arc<Config>>,
        metrics: Arc<ExporterMetrics>,
    ) -> std::io::Result<Self> {
        let reads = Arc::new(Semaphore::new(MAX_BLOCKED_READS));
        Ok(Reloader { running, load, reads, hangup: signal(SignalKind::hangup())?, config, metrics })
    }

    /// Runs until dropped: one reload at a time, with a pause between two.
    pub(super) async fn run(mut self, reloads: Arc<Reloads>) {
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {}
                () = reloads.pending() => {}
            }
            sleep_until(not_before).await;
            let covered = reloads.last_request();
            let started = Instant::now();
            not_before = started.checked_add(PAUSE).unwrap_or(started);
            let outcome = self.reload().await;
            reloads.finish(covered, outcome);
        }
    }

    async fn reload(&self) -> ReloadOutcome {
        match self.read().await {
            Ok(new) => {
                let restart_needed = new.restart_needed(&self.running);
                self.metrics.config_loaded(Some(Timestamp::now()));
                self.config.send_replace(Arc::new(self.running.reloaded(new)));
                if restart_needed.is_empty() {
                    tracing::info!("configuration reloaded");
                } else {
                    let settings = restart_needed.join(", ");
                    tracing::warn!(settings, "configuration reloaded, but some changed settings need a restart");
                }
                ReloadOutcome::Reloaded { restart_needed }
            }
            Err(error) => {
                self.metrics.config_loaded(None);
                tracing::error!(%error, "configuration not reloaded, the previous one stays in effect");
                ReloadOutcome::Failed(error.public())
            }
        }
    }

    async fn read(&self) -> Result<Config, ReloadError> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| ReloadError::Blocked)?;
        let load = Arc::clone(&self.load);
        let read = tokio::task::spawn_blocking(move || {
            let loaded = load();
            drop(permit);
            loaded
        });
        match timeout(READ_TIMEOUT, read).await {
            Ok(Ok(loaded)) => Ok(loaded?),
            Ok(Err(_)) => Err(ReloadError::Panicked),
            Err(_) => Err(ReloadError::Timeout),
        }
    }
}
