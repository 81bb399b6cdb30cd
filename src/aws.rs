//! Everything the exporter knows of the AWS SDK: clients, identity, pacing, request counting, errors.

mod complete;
pub mod counting;
pub mod errors;
pub mod pacing;
pub mod pages;

use crate::model::Account;
use crate::source::SourceError;
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_iam::config::retry::RetryPartition;
use complete::Complete;
use counting::{Counting, RequestObserver};
use pacing::Pacer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The attempts of one request, the first included. IAM throttles in bursts that last some seconds.
const MAX_ATTEMPTS: u32 = 8;
/// STS is asked first and is hardly ever throttled: where nothing answers, that is soon told.
const STS_ATTEMPTS: u32 = 3;
/// No single attempt takes longer; IAM answers in well under a second, a large page in a few.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What of AWS a user can set by flags. Everything else is the SDK's own: environment, profiles, SSO, web identity,
/// container and instance credentials, `AWS_ENDPOINT_URL`, FIPS, dual-stack, proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub region: Option<String>,
    pub profile: Option<String>,
    pub max_requests_per_second: f64,
    pub concurrency: usize,
}

/// Clients for one account.
pub struct Aws {
    pub iam: aws_sdk_iam::Client,
    pub concurrency: usize,
    pacer: Pacer,
    sts: aws_sdk_sts::Client,
    account_name: String,
    account: OnceCell<Account>,
}

impl Aws {
    /// Prepares clients; sends nothing to IAM or STS yet.
    pub async fn connect(settings: &Settings, account_name: String, observer: Arc<dyn RequestObserver>) -> Self {
        // IAM and STS know their endpoint by the partition; any of its regions will do.
        let mut regions = DefaultRegionChain::builder();
        if let Some(profile) = &settings.profile {
            regions = regions.profile_name(profile);
        }
        let region = RegionProviderChain::first_try(settings.region.clone().map(Region::new))
            .or_else(regions.build())
            .or_else(Region::from_static("us-east-1"));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        let shared = loader.load().await;
        // The SDK's retry budget is one per region and process; a partition of its own keeps a throttled account
        // from using up that of others.
        let iam = aws_sdk_iam::config::Builder::from(&shared)
            .retry_partition(RetryPartition::custom("iam-key-exporter").build())
            .interceptor(Complete)
            .interceptor(Counting::new("iam", Arc::clone(&observer)))
            .build();
        let sts = aws_sdk_sts::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(STS_ATTEMPTS))
            .interceptor(Complete)
            .interceptor(Counting::new("sts", observer))
            .build();
        Aws {
            iam: aws_sdk_iam::Client::from_conf(iam),
            concurrency: settings.concurrency,
            pacer: Pacer::new(settings.max_requests_per_second),
            sts: aws_sdk_sts::Client::from_conf(sts),
            account_name,
            account: OnceCell::new(),
        }
    }

    /// Waits until another request may be sent.
    pub async fn pace(&self) {
        self.pacer.turn().await;
    }

    /// The account that the credentials belong to; asked once (GetCallerIdentity needs no permission).
    ///
    /// # Errors
    /// When AWS does not say.
    pub async fn account(&self) -> Result<&Account, SourceError> {
        self.account.get_or_try_init(|| self.ask_identity()).await
    }

    async fn ask_identity(&self) -> Result<Account, SourceError> {
        const OPERATION: &str = "GetCallerIdentity";
        let answer = self.sts.get_caller_identity().send().await.map_err(|e| errors::classify(OPERATION, &e))?;
        let unexpected = || SourceError::UnexpectedResponse {
            operation: OPERATION,
            message: "it names no account of twelve digits".into(),
        };
        let id = answer.account().filter(|a| a.len() == 12 && a.bytes().all(|b| b.is_ascii_digit()));
        let partition = answer.arn().and_then(|arn| arn.split(':').nth(1)).filter(|p| !p.is_empty());
        let (Some(id), Some(partition)) = (id, partition) else { return Err(unexpected()) };
        Ok(Account { id: id.to_owned(), name: self.account_name.clone(), partition: partition.to_owned() })
    }
}

/// An SDK date as ours.
pub fn timestamp(date: &aws_smithy_types::DateTime) -> Option<crate::model::Timestamp> {
    crate::model::Timestamp::from_second(date.secs()).ok()
}
