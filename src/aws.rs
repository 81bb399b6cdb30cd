//! The only module that imports the AWS SDK: clients, collectors, rate limit, request counting, errors.

mod access;
mod blocking;
mod clock;
pub mod collect;
pub mod counting;
pub mod errors;
pub mod pages;
mod rate_limit;
mod redact;
mod transport;
mod truncation;

pub use access::Aws;

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::config::SharedHttpClient;
use aws_sdk_iam::config::retry::RetryPartition;
use blocking::BlockingCredentials;
use clock::ClockSkew;
use counting::{RequestCounter, RequestObserver};
use rate_limit::{RateLimiter, longest_wait};
use std::sync::Arc;
use std::time::Duration;
use transport::ServiceClient;
use truncation::TruncationGuard;

/// The attempts of one request, the first included. IAM throttles in bursts that last some seconds.
const MAX_ATTEMPTS: u32 = 8;
/// STS is asked first and is hardly ever throttled: a check that cannot reach AWS fails soon.
const STS_ATTEMPTS: u32 = 3;
/// The SDK's own value, stated so that an update does not change it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// No single attempt takes longer; IAM answers in well under a second, a large page in a few.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Retry, timeout and HTTP behaviour of the SDK as of this version, whatever version is linked.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The settings of AWS that have flags. Everything else is the SDK's own: environment, profiles, SSO, web identity,
/// container and instance credentials, `AWS_ENDPOINT_URL`, FIPS, dual-stack, proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// AWS region, which determines the partition; `None` for the SDK's own, or else `us-east-1`.
    pub region: Option<String>,
    /// Profile of the AWS configuration files; `None` for the SDK's own.
    pub profile: Option<String>,
    /// The largest number of requests to IAM per second, retries included.
    pub max_requests_per_second: f64,
    /// The largest number of concurrent requests to IAM.
    pub concurrency: usize,
}

/// SDK clients for one account.
struct Clients {
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
}

impl Clients {
    fn new(shared: SdkConfig, settings: &Settings, account_name: &str, observer: Arc<dyn RequestObserver>) -> Self {
        let http_client = shared.http_client().unwrap_or_else(transport::http_client);
        let clock = Arc::new(ClockSkew::new(Arc::clone(&observer)));
        let service_client = |limiter| ServiceClient { inner: http_client.clone(), limiter, clock: Arc::clone(&clock) };
        let account = [account_name, settings.profile.as_deref().unwrap_or_default()];
        let account = account.into_iter().find(|name| !name.is_empty()).unwrap_or("default");

        let limiter = Arc::new(RateLimiter::new(settings.max_requests_per_second));
        // An attempt begins before the rate limiter admits its request.
        let wait = longest_wait(settings.max_requests_per_second, settings.concurrency.saturating_mul(2));
        let iam = aws_sdk_iam::config::Builder::from(&shared)
            .http_client(service_client(Some(limiter)))
            .retry_partition(retry_partition("iam", account))
            .timeout_config(timeouts(ATTEMPT_TIMEOUT.saturating_add(wait)))
            .interceptor(TruncationGuard)
            .interceptor(RequestCounter::new("iam", Arc::clone(&observer)))
            .build();
        let sts = aws_sdk_sts::config::Builder::from(&shared)
            .http_client(service_client(None))
            .retry_partition(retry_partition("sts", account))
            .retry_config(RetryConfig::standard().with_max_attempts(STS_ATTEMPTS))
            .interceptor(TruncationGuard)
            .interceptor(RequestCounter::new("sts", observer))
            .build();
        Clients { iam: aws_sdk_iam::Client::from_conf(iam), sts: aws_sdk_sts::Client::from_conf(sts) }
    }
}

/// Region, credentials and endpoints as the environment and the profile have them.
async fn load(settings: &Settings, http_client: SharedHttpClient) -> SdkConfig {
    // The endpoints of IAM and STS follow from the partition; any of its regions will do.
    let mut regions = DefaultRegionChain::builder();
    if let Some(profile) = &settings.profile {
        regions = regions.profile_name(profile);
    }
    let region = RegionProviderChain::first_try(settings.region.clone().map(Region::new))
        .or_else(regions.build())
        .or_else(Region::from_static("us-east-1"));
    let mut loader = aws_config::defaults(behavior())
        .http_client(http_client)
        .region(region)
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts(ATTEMPT_TIMEOUT));
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    let Some(credentials) = shared.credentials_provider() else { return shared };
    let credentials = SharedCredentialsProvider::new(BlockingCredentials::new(credentials));
    shared.into_builder().credentials_provider(credentials).build()
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .build()
}

/// The SDK's retry budget is one per region and process. With a partition of its own a throttled account does not use up
/// the budget of others.
fn retry_partition(service: &str, account: &str) -> RetryPartition {
    RetryPartition::custom(format!("{service}-{account}")).build()
}

/// A date of the SDK in whole seconds; `None` if it is not in the range of timestamps.
pub fn timestamp(date: &aws_smithy_types::DateTime) -> Option<crate::model::Timestamp> {
    crate::model::Timestamp::from_second(date.secs()).ok()
}
