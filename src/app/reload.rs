//! Reloading the configuration on SIGHUP and on request.
//!
//! A reload loads the configuration as the start did, so an invalid one is refused as a whole, and takes over policy,
//! exemptions and accounts. Reading happens on a thread for blocking calls and for a limited time: a file may be on a network file
//! system that hangs, which must neither stop scrapes nor the end of the process.

use super::web::{NotReloaded, WebReloader};
use crate::config::{Config, ConfigError, READ_TIMEOUT};
use crate::exposition::exporter::ExporterMetrics;
use crate::http::{ReloadOutcome, Reloads};
use crate::model::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// After this time only a file system that hangs can still block a read.
const LIMIT: Duration = READ_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Requests within this time after a reload started are merged into the next one.
const PAUSE: Duration = Duration::from_secs(1);
/// A thread that blocks in a read cannot be stopped. With so many of them, further reloads fail until one of the reads ends.
const MAX_BLOCKED_READS: usize = 4;

/// Loads the configuration with the arguments and the environment of the start.
pub(super) type Load = dyn Fn() -> Result<Config, ConfigError> + Send + Sync;

/// SIGHUP, which asks for a reload.
#[must_use = "the signal ends the process until it is installed"]
pub struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Takes over SIGHUP. A signal that arrives before the configuration is loaded is answered by a reload.
    ///
    /// # Errors
    /// When the system refuses to register a handler.
    pub fn install() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(ReloadSignal)
    }
}

/// Replaces policy and accounts when asked to. An invalid configuration keeps the previous policy and sets the metric to 0.
pub(super) struct Reloader {
    running: Config,
    load: Arc<Load>,
    reads: Arc<Semaphore>,
    hangup: Signal,
    config: watch::Sender<Arc<Config>>,
    metrics: Arc<ExporterMetrics>,
    /// `None` without a web configuration.
    pub(super) web: Option<Arc<WebReloader>>,
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    #[error("reading the configuration took longer than {} seconds", LIMIT.as_secs())]
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
            ReloadError::Invalid(ConfigError::Unreadable { .. }) => "it could not be read; the log has the details",
            ReloadError::Invalid(_) => "it is invalid; the log has the details",
            ReloadError::Timeout | ReloadError::Blocked => "it could not be read in time",
            ReloadError::Panicked => "internal error; the log has the details",
        }
    }
}

impl Reloader {
    /// `running` is what the process was started with. Without a web configuration to reload.
    pub(super) fn new(
        running: Config,
        load: Arc<Load>,
        hangup: ReloadSignal,
        config: watch::Sender<Arc<Config>>,
        metrics: Arc<ExporterMetrics>,
    ) -> Self {
        let reads = Arc::new(Semaphore::new(MAX_BLOCKED_READS));
        Reloader { running, load, reads, hangup: hangup.0, config, metrics, web: None }
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
            let web = self.reload_web().await;
            reloads.finish(covered, web.map_or_else(|failed| failed, |()| outcome));
        }
    }

    /// The two files are reloaded on their own: an invalid one does not keep the other from taking effect.
    async fn reload_web(&self) -> Result<(), ReloadOutcome> {
        let Some(web) = &self.web else { return Ok(()) };
        let failed = "the web configuration is invalid; the log has the details";
        web.reload().await.map_err(|NotReloaded| ReloadOutcome::Failed(failed))
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
        match timeout(LIMIT, read).await {
            Ok(Ok(loaded)) => Ok(loaded?),
            Ok(Err(_)) => Err(ReloadError::Panicked),
            Err(_) => Err(ReloadError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Condvar, Mutex};

    /// A file system that can hang.
    #[derive(Default)]
    struct Volume {
        hangs: Mutex<bool>,
        changed: Condvar,
    }

    impl Volume {
        fn set_hanging(&self, hangs: bool) {
            *self.hangs.lock().unwrap() = hangs;
            self.changed.notify_all();
        }

        fn read(&self) {
            drop(self.changed.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        }
    }

    async fn wait_until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::task::yield_now().await;
        }
    }

    /// Time is paused, and passes at once.
    #[tokio::test(start_paused = true)]
    async fn reloads_recover_when_blocked_reads_return() {
        let volume = Arc::new(Volume::default());
        let running = Config::load(&Given::default()).unwrap();
        let (file, broken) = (Arc::clone(&volume), Arc::new(AtomicBool::new(false)));
        let is_broken = Arc::clone(&broken);
        let load = move || {
            file.read();
            let missing = ConfigError::Unreadable { path: "c.yaml".into(), message: "no such file".into() };
            if is_broken.load(Ordering::Relaxed) { Err(missing) } else { Config::load(&Given::default()) }
        };
        let metrics = Arc::new(ExporterMetrics::new(Duration::from_secs(60)));
        let sender = watch::Sender::new(Arc::new(running.clone()));
        let reloader = Reloader::new(running, Arc::new(load), ReloadSignal::install().unwrap(), sender, metrics);

        volume.set_hanging(true);
        let mut errors = Vec::new();
        for _ in 0..6 {
            let (read, ()) = tokio::join!(reloader.read(), tokio::time::advance(LIMIT));
            errors.push(read.unwrap_err().to_string());
        }
        let (late, refused) = errors.split_at(MAX_BLOCKED_READS);
        assert!(late.iter().all(|e| e == "reading the configuration took longer than 11 seconds"), "{errors:?}");
        assert!(refused.iter().all(|e| e == "4 earlier reads of the configuration still block"), "{errors:?}");
        volume.set_hanging(false);
        wait_until(|| reloader.reads.available_permits() == MAX_BLOCKED_READS).await;
        assert!(matches!(reloader.reload().await, ReloadOutcome::Reloaded { .. }));

        // Errors give their place back, too.
        broken.store(true, Ordering::Relaxed);
        for _ in 0..6 {
            assert_eq!(reloader.reload().await, ReloadOutcome::Failed("it could not be read; the log has the details"));
        }
        broken.store(false, Ordering::Relaxed);
        assert!(matches!(reloader.reload().await, ReloadOutcome::Reloaded { .. }));
    }
}
