//! The web configuration: loaded at the start, reloaded on request and when one of its files has another content.
//!
//! Kubernetes replaces mounted files by a symbolic link of their directory, so contents are compared, not times.

use crate::config::Config;
use crate::config::web::{WebConfig, WebError};
use crate::exposition::exporter::ExporterMetrics;
use crate::http::{Web, WebLoadError};
use crate::model::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

/// Time between two comparisons of the files with what is in force.
const POLL: Duration = Duration::from_secs(2);
/// Files that have changed are read until two reads at this distance are the same: a certificate and its key are not
/// replaced in one step everywhere.
const SETTLE: Duration = Duration::from_millis(250);
const MOST_READS: usize = 8;
/// Long for small files on a slow volume.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The web configuration that the settings name, or plain HTTP for every client.
///
/// # Errors
/// [`WebLoadError`], which names file, line and key.
pub fn load_web(config: &Config) -> Result<Web, WebLoadError> {
    config.settings.web.config_file.as_deref().map_or_else(|| Ok(Web::open()), Web::load)
}

/// Reloads the web configuration. A broken one keeps the previous one in force.
pub(super) struct WebReloader {
    path: PathBuf,
    web: Arc<Web>,
    metrics: Arc<ExporterMetrics>,
    /// A thread that blocks in a read cannot be stopped; there is one at most.
    reads: Arc<Semaphore>,
    /// Why the last attempt failed, which is logged once.
    failure: Mutex<Option<String>>,
}

#[derive(Debug, thiserror::Error)]
enum WebReloadError {
    #[error(transparent)]
    Invalid(#[from] WebLoadError),
    #[error("reading the files of the web configuration took longer than {} seconds", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error("an earlier read of the files of the web configuration still blocks")]
    Blocked,
    #[error("reading the web configuration panicked")]
    Panicked,
}

/// The web configuration was not reloaded; the log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotReloaded;

impl WebReloader {
    /// `path` is the file that `web` was loaded from.
    pub(super) fn new(path: PathBuf, web: Arc<Web>, metrics: Arc<ExporterMetrics>) -> Self {
        metrics.web_config_loaded(Timestamp::now(), web.certificate_expiry());
        let reads = Arc::new(Semaphore::new(1));
        WebReloader { path, web, metrics, reads, failure: Mutex::default() }
    }

    /// Runs until dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            sleep(POLL).await;
            let _ = self.attempt(false).await;
        }
    }

    /// Reloads now.
    ///
    /// # Errors
    /// [`NotReloaded`] if the previous configuration stays in force because of an error.
    pub(super) async fn reload(&self) -> Result<(), NotReloaded> {
        self.attempt(true).await
    }

    async fn attempt(&self, requested: bool) -> Result<(), NotReloaded> {
        let mut failure = self.failure.lock().await;
        let reloaded = match self.read().await {
            Ok(config) => self.web.reload(&self.path, &config).map_err(WebReloadError::from),
            Err(error) => Err(error),
        };
        match reloaded {
            Ok(changed) => {
                let failed = failure.take().is_some();
                if changed || failed || requested {
                    self.metrics.web_config_loaded(Timestamp::now(), self.web.certificate_expiry());
                }
                if changed {
                    tracing::info!("web configuration reloaded");
                } else if failed {
                    tracing::info!("web configuration is again the one in effect");
                }
                Ok(())
            }
            Err(error) => {
                let error = error.to_string();
                if requested || failure.as_ref() != Some(&error) {
                    tracing::error!(%error, "web configuration not reloaded, the previous one stays in effect");
                    self.metrics.web_config_failed();
                }
                *failure = Some(error);
                Err(NotReloaded)
            }
        }
    }

    /// The configuration in the files, once they are no longer being changed.
    async fn read(&self) -> Result<WebConfig, WebReloadError> {
        let mut last = self.read_once().await?;
        for _ in 1..MOST_READS {
            if last.as_ref().is_ok_and(|config| self.web.is_in_force(config)) {
                break;
            }
            sleep(SETTLE).await;
            let next = self.read_once().await?;
            let same = match (&last, &next) {
                (Ok(last), Ok(next)) => last.digest == next.digest,
                (Err(last), Err(next)) => last == next,
                _ => false,
            };
            last = next;
            if same {
                break;
            }
        }
        Ok(last.map_err(WebLoadError::from)?)
    }

    async fn read_once(&self) -> Result<Result<WebConfig, WebError>, WebReloadError> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| WebReloadError::Blocked)?;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let loaded = WebConfig::load(&path);
            drop(permit);
            loaded
        });
        let read = timeout(READ_TIMEOUT, read).await.map_err(|_| WebReloadError::Timeout)?;
        read.map_err(|_| WebReloadError::Panicked)
    }
}
