//! Composition: `serve` and `check`. The only module that imports all others.

mod check;
mod options;
mod output;
mod progress;
mod publisher;
mod reload;
mod shutdown;

pub use check::{CheckError, Verdict, check};
pub use shutdown::ShutdownSignals;

use crate::aws::Process;
use crate::aws::collect::{AwsSource, Choice};
use crate::aws::counting::RequestObserver;
use crate::config::values::CollectorChoice;
use crate::config::{Config, ConfigError, Input};
use crate::exposition::Parts;
use crate::exposition::exporter::{ExporterMetrics, UNKNOWN_ACCOUNT};
use crate::http::{self, AppState, Listeners, Reloads};
use crate::model::{Access, Timestamp};
use crate::policy::Policy;
use crate::schedule::{Pacing, Worker};
use crate::source::Source;
use crate::source::demo::DemoSource;
use crate::source::file::{FileSource, Format};
use anyhow::Context;
use publisher::Publisher;
use reload::Reloader;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. A reload calls `load`, as the start did.
///
/// # Errors
/// When an address cannot be bound, the handler of SIGHUP cannot be registered, or the server panics.
pub async fn serve(
    config: Config,
    load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    mut signals: ShutdownSignals,
) -> anyhow::Result<()> {
    let metrics = Arc::new(ExporterMetrics::new(config.interval()));
    let parts = Arc::new(Parts::new(options::exposition(&config.settings)));
    parts.account_known(UNKNOWN_ACCOUNT);
    metrics.config_loaded(Some(Timestamp::now()));
    let reloads = Arc::new(Reloads::default());
    let lifecycle = config.settings.web.enable_lifecycle.then(|| Arc::clone(&reloads));
    let state = Arc::new(AppState::new(Arc::clone(&parts), Arc::clone(&metrics), lifecycle));
    state.update(|status| status.account(UNKNOWN_ACCOUNT, |_| ()));
    let (policy_sender, policy) = watch::channel(Arc::new(config.policy.clone()));
    let reloader = Reloader::install(config.clone(), Arc::new(load), policy_sender, Arc::clone(&metrics))
        .context("cannot listen for signals")?;

    // A host name among the addresses can make this wait.
    let listeners = tokio::select! {
        listeners = Listeners::bind(&config.settings.web.listen_address.0) => listeners?,
        () = signals.recv() => return Ok(()),
    };
    for address in listeners.addresses() {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let reloading = tokio::spawn(reloader.run(reloads));
    let checks = tokio::spawn(run_checks(config.clone(), policy, metrics, parts, Arc::clone(&state)));

    let server = tokio::spawn(async move {
        http::serve(listeners, state, config.settings.web.max_connections.get(), signals.first()).await;
        signals
    });
    // Kept, so that a second signal reaches its handler until the end.
    let _signals = server.await.context("the server panicked")?;
    // A check under way is given up: it only reads.
    checks.abort();
    reloading.abort();
    tracing::info!("stopped");
    Ok(())
}

async fn run_checks(
    config: Config,
    policy: watch::Receiver<Arc<Policy>>,
    metrics: Arc<ExporterMetrics>,
    parts: Arc<Parts>,
    state: Arc<AppState>,
) {
    let publisher = Publisher::new(policy.clone(), parts, state);
    let worker = Worker {
        account: None,
        state: None,
        identified: watch::Sender::new(None),
        source: source(&config, metrics),
        timing: options::timing(&config),
        pacing: Pacing::new(options::limits(&config.settings)),
        policy,
        events: Arc::new(publisher),
        now: Timestamp::now,
    };
    worker.run().await;
}

/// The source that the configuration names. Nothing is read or called yet.
fn source(config: &Config, observer: Arc<dyn RequestObserver>) -> Arc<dyn Source> {
    let settings = &config.settings;
    let name = settings.account.name.clone().unwrap_or_default();
    match &config.input {
        Input::Demo => return Arc::new(DemoSource::new(Timestamp::now(), name)),
        Input::CredentialReport(path) => {
            return Arc::new(FileSource::new(path.clone(), Format::CredentialReport, name));
        }
        Input::Inventory(path) => return Arc::new(FileSource::new(path.clone(), Format::Inventory, name)),
        Input::Aws => {}
    }
    let process = Process::new(options::aws(settings), observer);
    let aws = process.account(Access::Own, name, settings.aws.max_requests_per_second.0);
    let choice = match settings.collector {
        CollectorChoice::Live => Choice::Live,
        CollectorChoice::Report => Choice::Report,
        CollectorChoice::Auto => Choice::Auto { report_above: settings.collector_report_above },
    };
    Arc::new(AwsSource::new(aws, choice, options::live(settings)))
}
