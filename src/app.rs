//! Puts the rooms together: `serve` and `check`. The only place that knows them all.

mod board;
mod check;
mod progress;

pub use check::{CheckError, Verdict, check};

use crate::aws::Aws;
use crate::aws::counting::RequestObserver;
use crate::cli::CollectorChoice;
use crate::config::{self, Config, Input};
use crate::exposition::exporter::{ExporterMetrics, UNKNOWN_ACCOUNT};
use crate::http::{self, Listeners, ReloadReply, Site};
use crate::model::{Inventory, Timestamp};
use crate::policy::{Policy, evaluate, multiple_active_keys};
use crate::schedule::{Scheduler, Timing};
use crate::source::Source;
use crate::source::auto::AutoSource;
use crate::source::demo::DemoSource;
use crate::source::file::{FileSource, Format};
use crate::source::live::LiveSource;
use crate::source::report::{Breaches, FindBreaches, ReportSource};
use anyhow::Context;
use board::PublicBoard;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// When an address cannot be bound.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let metrics = Arc::new(ExporterMetrics::new(config.interval));
    metrics.account_known(UNKNOWN_ACCOUNT);
    metrics.config_loaded(Some(Timestamp::now()));
    let (reload_sender, reload_requests) = mpsc::channel(1);
    let site = Arc::new(Site::new(Arc::clone(&metrics), reload_sender));
    let mut stop = Stop::install().context("cannot listen for signals")?;

    let listeners = Listeners::bind(&config.web.listen_addresses).await?;
    for address in listeners.addresses() {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let (policy_sender, policy) = watch::channel(Arc::new(config.policy.clone()));
    let reloads = tokio::spawn(reload(config.file.clone(), reload_requests, policy_sender, Arc::clone(&metrics)));
    let checks = tokio::spawn(run_checks(config.clone(), policy, Arc::clone(&metrics), Arc::clone(&site)));

    let server = tokio::spawn(async move {
        http::serve(listeners, site, config.web.max_connections, stop.first()).await;
        stop
    });
    let _stop = server.await.context("the server panicked")?;
    // A check under way is given up: it only reads.
    checks.abort();
    reloads.abort();
    tracing::info!("stopped");
    Ok(())
}

async fn run_checks(
    config: Config,
    policy: watch::Receiver<Arc<Policy>>,
    metrics: Arc<ExporterMetrics>,
    site: Arc<Site>,
) {
    let board = PublicBoard::new(config.metrics.clone(), Arc::clone(&metrics), site);
    let scheduler = Scheduler {
        source: source(&config, policy.clone(), metrics).await,
        timing: Timing { interval: config.interval, timeout: config.timeout },
        policy,
        board: Arc::new(board),
        now: Timestamp::now,
    };
    scheduler.run().await;
}

/// The source that the configuration names.
async fn source(
    config: &Config,
    policy: watch::Receiver<Arc<Policy>>,
    observer: Arc<dyn RequestObserver>,
) -> Arc<dyn Source> {
    let name = config.account_name.clone();
    let (collector, report_above) = match &config.input {
        Input::Demo => return Arc::new(DemoSource::new(Timestamp::now(), name)),
        Input::CredentialReport(path) => {
            return Arc::new(FileSource::new(path.clone(), Format::CredentialReport, name));
        }
        Input::Inventory(path) => return Arc::new(FileSource::new(path.clone(), Format::Inventory, name)),
        Input::Aws { collector, report_above } => (*collector, *report_above),
    };
    let aws = Arc::new(Aws::connect(&config.aws, name, observer).await);
    let find_breaches: FindBreaches = Arc::new(move |inventory| breaches(inventory, &policy.borrow()));
    let live = || LiveSource::new(Arc::clone(&aws), config.live.clone());
    let report = || ReportSource::new(Arc::clone(&aws), live(), Arc::clone(&find_breaches));
    match collector {
        CollectorChoice::Live => Arc::new(live()),
        CollectorChoice::Report => Arc::new(report()),
        CollectorChoice::Auto => Arc::new(AutoSource::new(live(), report(), report_above)),
    }
}

fn breaches(inventory: &Inventory, policy: &Policy) -> Breaches {
    let mut breaches = Breaches::default();
    for finding in evaluate(inventory, policy, Timestamp::now()).findings {
        let Some(user) = finding.user else { continue };
        if *finding.rule == multiple_active_keys::RULE {
            breaches.multiple_active_keys.insert(user);
        } else {
            breaches.other.insert(user);
        }
    }
    breaches
}

/// Reads the policy again on SIGHUP and on request. A file that is wrong changes nothing but the metric.
async fn reload(
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
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn install() -> std::io::Result<Self> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The first signal; from then on the second one ends the process.
    async fn first(&mut self) {
        self.recv().await;
        tracing::info!("stopping");
        let mut second = match Stop::install() {
            Ok(second) => second,
            Err(_) => return,
        };
        tokio::spawn(async move {
            second.recv().await;
            tracing::warn!("stopping at once");
            #[expect(
                clippy::disallowed_methods,
                reason = "whoever signals twice does not want to wait for destructors"
            )]
            std::process::exit(130);
        });
    }
}
