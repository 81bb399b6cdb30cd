//! Where the data of accounts come from: AWS, a file, or the demo.

use super::options;
use crate::accounts::{Directory, Target};
use crate::aws::collect::{self, AwsSource, Choice};
use crate::aws::counting::RequestObserver;
use crate::aws::probe::{self, Needs};
use crate::aws::{Aws, Process};
use crate::config::accounts::OrganizationSection;
use crate::config::settings::Settings;
use crate::config::values::{CollectorChoice, DemoScenario};
use crate::config::{Config, Input};
use crate::model::{Access, Account, Timestamp};
use crate::schedule::fleet::{Discovered, Provider};
use crate::source::demo::{DemoOrganization, DemoSource};
use crate::source::file::{FileSource, Format};
use crate::source::{MemberLister, Members, Source, SourceError, Wanted};
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// The provider that the configuration names. Nothing is read or called yet.
pub(super) fn provider(config: &Config, observer: Arc<dyn RequestObserver>) -> Arc<dyn Provider> {
    let settings = &config.settings;
    match &config.input {
        Input::Demo => Arc::new(Demo { started: Timestamp::now(), scenario: settings.demo.scenario }),
        Input::CredentialReport(path) => Arc::new(File { path: path.clone(), format: Format::CredentialReport }),
        Input::Inventory(path) => Arc::new(File { path: path.clone(), format: Format::Inventory }),
        Input::Aws => Arc::new(OfAws::new(settings, observer)),
    }
}

pub(super) struct OfAws {
    process: Arc<Process>,
    pub(super) choice: Choice,
    options: collect::Options,
    max_requests_per_second: f64,
}

impl OfAws {
    pub(super) fn new(settings: &Settings, observer: Arc<dyn RequestObserver>) -> Self {
        OfAws {
            process: Process::new(options::aws(settings), observer),
            choice: match settings.collector {
                CollectorChoice::Live => Choice::Live,
                CollectorChoice::Report => Choice::Report,
                CollectorChoice::Auto => Choice::Auto { report_above: settings.collector_report_above },
            },
            options: options::live(settings),
            max_requests_per_second: settings.aws.max_requests_per_second.0,
        }
    }

    /// Tries what the collector needs in an account; the operations that AWS denies.
    pub(super) async fn probe(
        &self,
        target: &Target,
        needs: Needs,
    ) -> Result<(Account, Vec<SourceError>), SourceError> {
        probe::probe(&self.access(target), needs).await
    }

    fn access(&self, target: &Target) -> Arc<Aws> {
        self.process.account(target.access.clone(), target.name.clone(), target.max_requests_per_second)
    }
}

impl Provider for OfAws {
    fn source(&self, target: &Target) -> Arc<dyn Source> {
        Arc::new(AwsSource::new(self.access(target), self.choice, self.options.clone()))
    }

    fn discover(&self, organization: Option<&OrganizationSection>) -> BoxFuture<'static, Discovered> {
        // The name is not used here, and an account with a name has its alias not read.
        let own = self.process.account(Access::Own, "self".into(), self.max_requests_per_second);
        let lister = organization
            .map(|section| (self.process.organization(section.discovery_role()), Directory::wanted(section)));
        Box::pin(async move { Ok((own.account().await?, members(lister).await?)) })
    }
}

/// The accounts of the organisation, if there is one.
async fn members(lister: Option<(impl MemberLister, Wanted)>) -> Result<Option<Members>, SourceError> {
    match &lister {
        Some((lister, wanted)) => lister.members(wanted).await.map(Some),
        None => Ok(None),
    }
}

struct File {
    path: PathBuf,
    format: Format,
}

impl Provider for File {
    fn source(&self, target: &Target) -> Arc<dyn Source> {
        Arc::new(FileSource::new(self.path.clone(), self.format, target.name.clone()))
    }

    /// The account of a file is alone, so that there is nothing to discover: the configuration refuses the rest.
    fn discover(&self, _: Option<&OrganizationSection>) -> BoxFuture<'static, Discovered> {
        Box::pin(std::future::pending())
    }
}

struct Demo {
    started: Timestamp,
    scenario: DemoScenario,
}

impl Provider for Demo {
    fn source(&self, target: &Target) -> Arc<dyn Source> {
        let name = target.name.clone();
        let member = target.account.filter(|_| self.scenario == DemoScenario::Organization);
        let source = member.and_then(|id| DemoOrganization::new(self.started).source(id, name.clone()));
        source.unwrap_or_else(|| Arc::new(DemoSource::new(self.started, name)))
    }

    fn discover(&self, organization: Option<&OrganizationSection>) -> BoxFuture<'static, Discovered> {
        let own = DemoSource::new(self.started, String::new()).demo_account();
        let lister = organization.map(|section| (DemoOrganization::new(self.started), Directory::wanted(section)));
        Box::pin(async move { Ok((own, members(lister).await?)) })
    }
}
