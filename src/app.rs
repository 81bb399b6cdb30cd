//! Composition: `serve`, `check` and `verify-config --aws`. The only module that imports all others.

mod check;
mod options;
mod output;
mod progress;
mod provider;
mod publisher;
mod reload;
mod shutdown;
mod tasks;
mod verify;
mod web;

pub use check::{CheckError, Verdict, check};
pub use reload::ReloadSignal;
pub use shutdown::{ShutdownSignals, keep_running_at_file_size_limit};
pub use verify::{VerifyError, verify};
pub use web::load_web;

use crate::config::{Config, ConfigError};
use crate::exposition::Parts;
use crate::exposition::exporter::ExporterMetrics;
use crate::http::{self, AppState, Listeners, Reloads, Web};
use crate::model::Timestamp;
use crate::schedule::Pacing;
use crate::schedule::fleet::Fleet;
use provider::provider;
use publisher::Publisher;
use reload::Reloader;
use std::sync::Arc;
use tasks::Tasks;
use tokio::sync::watch;
use web::WebReloader;

/// Why `serve` has ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot start.
    #[error(transparent)]
    Start(#[from] anyhow::Error),
    /// A part of the program has ended, by a panic that is logged. Data would go stale, and be served as current.
    #[error("{0} ended unexpectedly, and the process with it; the log has the details")]
    TaskEnded(&'static str),
}

impl ServeError {
    /// Whether arguments or configuration have to be changed.
    pub fn is_usage(&self) -> bool {
        matches!(self, ServeError::Start(_))
    }
}

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. A reload calls `load`, as the start did.
///
/// # Errors
/// [`ServeError`] when an address cannot be bound, or a part of the program ends unexpectedly.
pub async fn serve(
    config: Config,
    web: Web,
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    mut signals: ShutdownSignals,
    hangup: ReloadSignal,
) -> Result<(), ServeError> {
    let metrics = Arc::new(ExporterMetrics::new(config.interval()));
    let parts = Arc::new(Parts::new(options::exposition(&config.settings)));
    metrics.config_loaded(Some(Timestamp::now()));
    metrics.shard(config.shard.index, config.shard.total);
    let reloads = Arc::new(Reloads::default());
    let lifecycle = config.settings.web.enable_lifecycle.then(|| Arc::clone(&reloads));
    let paths = config.settings.web.paths();
    let web = Arc::new(web);
    let state = AppState::new(Arc::clone(&parts), Arc::clone(&metrics), lifecycle, paths);
    let state = Arc::new(state.secured(Arc::clone(&web)));
    let (sender, receiver) = watch::channel(Arc::new(config.clone()));
    let web_reloader = config.settings.web.config_file.clone();
    let web_reloader = web_reloader.map(|path| Arc::new(WebReloader::new(path, web, Arc::clone(&metrics))));
    let mut reloader = Reloader::new(config.clone(), Arc::new(load), hangup, sender, Arc::clone(&metrics));
    reloader.web = web_reloader.clone();

    // A host name among the addresses can make this wait.
    let listeners = tokio::select! {
        listeners = Listeners::bind(&config.settings.web) => listeners.map_err(anyhow::Error::from)?,
        () = signals.recv() => return Ok(()),
    };
    log_addresses(&listeners);
    let mut tasks = Tasks::default();
    tasks.spawn("the task that reloads the configuration", reloader.run(reloads));
    if let Some(reloader) = web_reloader {
        tasks.spawn("the task that watches the web configuration", reloader.watch());
    }
    let publisher = Publisher::new(receiver.clone(), Arc::clone(&metrics), parts, Arc::clone(&state));
    let fleet = Fleet {
        provider: provider(&config, metrics),
        config: receiver,
        timing: options::timing(&config),
        pacing: Pacing::new(options::limits(&config.settings)),
        events: Arc::new(publisher),
        now: Timestamp::now,
    };
    tasks.spawn("the task that starts checks", fleet.run());

    let server = tokio::spawn(async move {
        let max_connections = config.settings.web.max_connections.get();
        let served = http::serve(listeners, state, max_connections, signals.first()).await;
        served.map(|()| signals)
    });
    // Kept, so that a second signal reaches its handler until the end.
    let served = tasks.run_until(server).await?;
    let _signals = served.map_err(|_| ServeError::TaskEnded("the HTTP server"))?;
    // A check under way is given up: it only reads.
    drop(tasks);
    tracing::info!("stopped");
    Ok(())
}

fn log_addresses(listeners: &Listeners) {
    for address in listeners.addresses() {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    if let Some(address) = listeners.probe_address() {
        tracing::info!(%address, "listening for probes");
    }
}
