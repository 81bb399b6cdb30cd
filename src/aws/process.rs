//! What all accounts share: the SDK's configuration, one HTTP client, limits of requests, and the sessions of roles.

use super::access::Aws;
use super::blocking::{Blocking, BlockingCredentials};
use super::clock::ClockSkew;
use super::counting::{RequestCounter, RequestObserver, Throttled};
use super::organization::Organization;
use super::rate_limit::{RateLimiter, longest_wait};
use super::reception::{LARGE_ANSWERS, Reception};
use super::session::{RefusedSession, RoleCredentials, RoleSession};
use super::sts::Sts;
use super::transport::{self, ATTEMPT_TIMEOUT, Lane, Permits, ServiceClient};
use super::truncation::{JsonGuard, TruncationGuard};
use crate::model::{Access, Role};
use crate::source::{MemberLister, SourceError};
use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::config::retry::RetryPartition;
use aws_sdk_iam::config::{IdentityCache, SharedHttpClient};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};

/// The attempts of one request to IAM and to Organizations, the first included. Both throttle in bursts that last some
/// seconds.
const MAX_ATTEMPTS: u32 = 8;
/// STS is asked first and is hardly ever throttled: a check that cannot reach AWS fails soon.
const STS_ATTEMPTS: u32 = 3;
/// The SDK's own value, stated so that an update does not change it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// All attempts of one request with the pauses between them, without its waiting for the rate limit.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4 * 60);

/// Requests of one account under way at once.
const ACCOUNT_CONCURRENCY: usize = 8;
/// Requests to STS under way at once, in all.
const STS_CONCURRENCY: usize = 32;
/// Requests to STS per second, in all. STS admits about 600 per second, account and region (STS quotas), which are for
/// others, too.
const STS_REQUESTS_PER_SECOND: f64 = 200.0;
/// Organizations throttles early, and a listing is made only every few minutes.
pub(super) const ORGANIZATIONS_CONCURRENCY: usize = 4;
const ORGANIZATIONS_REQUESTS_PER_SECOND: f64 = 10.0;

/// The builder of a client's configuration, with the credentials of a session if there is one. The session is the only
/// cache of its credentials. A macro, because each service has a type of its own.
macro_rules! with_session {
    ($builder:expr, $session:expr) => {
        match $session {
            Some(session) => $builder
                .credentials_provider(RoleCredentials(Arc::clone(session)))
                .identity_cache(IdentityCache::no_cache())
                .interceptor(RefusedSession(Arc::clone(session))),
            None => $builder,
        }
    };
}

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
    /// The largest number of requests to AWS under way at once, in all accounts.
    pub concurrency: usize,
}

/// What all accounts share.
pub struct Process {
    settings: Settings,
    observer: Arc<dyn RequestObserver>,
    permits: Permits,
    /// Turns at receiving large answers.
    pub(super) large_answers: Arc<Semaphore>,
    configuration: Blocking<SdkConfig>,
    shared: OnceCell<Shared>,
    /// The sessions that are in use.
    sessions: Mutex<HashMap<Role, Weak<RoleSession>>>,
}

/// Made at the first check, within the time of that check.
pub(super) struct Shared {
    config: SdkConfig,
    http_client: SharedHttpClient,
    clock: Arc<ClockSkew>,
    sts_lane: Arc<Lane>,
    organizations_lane: Arc<Lane>,
    sts: aws_sdk_sts::Client,
}

impl Process {
    /// Nothing is read or called yet.
    pub fn new(settings: Settings, observer: Arc<dyn RequestObserver>) -> Arc<Self> {
        Arc::new(Process {
            permits: Permits::new(settings.concurrency),
            large_answers: Arc::new(Semaphore::new(LARGE_ANSWERS)),
            settings,
            observer,
            configuration: Blocking::new(),
            shared: OnceCell::new(),
            sessions: Mutex::new(HashMap::new()),
        })
    }

    /// Access to one account. `name` is a display name; if it is empty, the account's alias is read. Needs a Tokio
    /// runtime with a timer. Nothing is read or called yet.
    pub fn account(self: &Arc<Self>, access: Access, name: String, max_requests_per_second: f64) -> Arc<Aws> {
        let session = match access {
            Access::Own => None,
            Access::Role(role) => Some(self.session(*role)),
        };
        let concurrency = self.settings.concurrency.min(ACCOUNT_CONCURRENCY);
        let partition = match &session {
            Some(session) => session.role.arn.account.as_str(),
            None => "default",
        };
        // A partition of its own for each account: one that is throttled does not use up the retries of others.
        let retry_partition = RetryPartition::custom(partition.to_owned()).build();
        let lane = Lane::new(concurrency, RateLimiter::new(max_requests_per_second), self.permits.clone());
        // A request waits for those of its account.
        let wait = longest_wait(max_requests_per_second, ACCOUNT_CONCURRENCY).saturating_mul(MAX_ATTEMPTS);
        let limits = Limits {
            lane: Arc::new(lane),
            retry_partition,
            operation: OPERATION_TIMEOUT.saturating_add(wait),
            throttled: Throttled::default(),
        };
        Arc::new(Aws::new(Arc::clone(self), session, name, concurrency, limits))
    }

    /// Lists the organisation, with this role or else with the credentials of the process. Nothing is called yet.
    pub fn organization(self: &Arc<Self>, discovery_role: Option<Role>) -> impl MemberLister + use<> {
        Organization::new(Arc::clone(self), discovery_role.map(|role| self.session(role)))
    }

    /// The session of a role, which all share who need it.
    pub(super) fn session(self: &Arc<Self>, role: Role) -> Arc<RoleSession> {
        // Before the lock: it is taken for the base, too.
        let base = role.base.as_deref().map(|base| self.session(base.clone()));
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&role).and_then(Weak::upgrade) {
            return session;
        }
        sessions.retain(|_, session| session.strong_count() > 0);
        let sts = Sts { process: Arc::clone(self), base };
        let session = RoleSession::new(role.clone(), Arc::new(sts));
        sessions.insert(role, Arc::downgrade(&session));
        session
    }

    /// Loads region, credentials and endpoints from environment and profile at the first call; a caller may give up at
    /// any time.
    ///
    /// # Errors
    /// [`SourceError::Internal`] when the SDK panics. What the configuration lacks shows at
    /// the first request.
    pub(super) async fn shared(&self) -> Result<&Shared, SourceError> {
        self.shared.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<Shared, SourceError> {
        let settings = self.settings.clone();
        let loaded = self.configuration.run(|| async move { load(&settings, transport::http_client()).await }).await;
        Ok(self.share(loaded.map_err(|_| SourceError::Internal)?))
    }

    fn share(&self, config: SdkConfig) -> Shared {
        let lane = |concurrency, rate| Arc::new(Lane::new(concurrency, RateLimiter::new(rate), self.permits.clone()));
        let http_client = config.http_client().unwrap_or_else(transport::http_client);
        let clock = Arc::new(ClockSkew::new(Arc::clone(&self.observer)));
        let sts_lane = lane(STS_CONCURRENCY, STS_REQUESTS_PER_SECOND);
        let organizations_lane = lane(ORGANIZATIONS_CONCURRENCY, ORGANIZATIONS_REQUESTS_PER_SECOND);
        let sts = sts_client(&config, service(&http_client, &sts_lane, &clock), &self.observer, None);
        Shared { config, http_client, clock, sts_lane, organizations_lane, sts }
    }

    /// With credentials, against this endpoint.
    #[cfg(test)]
    pub(super) async fn at(url: &str, observer: Arc<dyn RequestObserver>) -> Arc<Self> {
        let process = Process::new(Settings { region: None, profile: None, concurrency: 64 }, observer);
        let config = aws_config::defaults(behavior())
            .http_client(transport::http_client())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(url)
            .credentials_provider(aws_credential_types::Credentials::new(
                "AKIAFAKEFAKEFAKEFAKE",
                "x",
                None,
                None,
                "test",
            ))
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(timeouts(OPERATION_TIMEOUT))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let shared = process.share(config);
        assert!(process.shared.set(shared).is_ok());
        process
    }

    /// A client of IAM for one account.
    pub(super) async fn iam(
        &self,
        session: Option<&Arc<RoleSession>>,
        limits: &Limits,
    ) -> Result<aws_sdk_iam::Client, SourceError> {
        let shared = self.shared().await?;
        let builder = aws_sdk_iam::config::Builder::from(&shared.config)
            .http_client(shared.service(&limits.lane))
            .retry_partition(limits.retry_partition.clone())
            .timeout_config(timeouts(limits.operation))
            .interceptor(TruncationGuard)
            .interceptor(RequestCounter::new("iam", Arc::clone(&self.observer), limits.throttled.clone()));
        let builder = with_session!(builder, session);
        Ok(aws_sdk_iam::Client::from_conf(builder.build()))
    }

    /// For an operation of IAM with a large answer, which is received in its turn.
    pub(super) async fn large_answer(
        &self,
        limits: &Limits,
    ) -> Result<(aws_sdk_iam::config::Builder, Reception), SourceError> {
        let reception = Reception::new(&self.large_answers);
        let service = self.shared().await?.service(&limits.lane);
        let service = ServiceClient { reception: Some(reception.clone()), ..service };
        Ok((aws_sdk_iam::config::Builder::new().http_client(service), reception))
    }

    /// A client of STS, with the credentials of the process, or those of a session.
    pub(super) async fn sts(&self, session: Option<&Arc<RoleSession>>) -> Result<aws_sdk_sts::Client, SourceError> {
        let shared = self.shared().await?;
        let Some(session) = session else { return Ok(shared.sts.clone()) };
        Ok(sts_client(&shared.config, shared.service(&shared.sts_lane), &self.observer, Some(session)))
    }

    /// A client of Organizations. Its endpoint and region follow from the partition.
    pub(super) async fn organizations(
        &self,
        session: Option<&Arc<RoleSession>>,
    ) -> Result<aws_sdk_organizations::Client, SourceError> {
        let shared = self.shared().await?;
        let builder = aws_sdk_organizations::config::Builder::from(&shared.config)
            .http_client(shared.service(&shared.organizations_lane))
            .retry_partition(RetryPartition::custom("organizations").build())
            .timeout_config(timeouts(OPERATION_TIMEOUT))
            .interceptor(JsonGuard)
            .interceptor(RequestCounter::new("organizations", Arc::clone(&self.observer), Throttled::default()));
        let builder = with_session!(builder, session);
        Ok(aws_sdk_organizations::Client::from_conf(builder.build()))
    }

    /// AWS's clock minus the local one in seconds; 0 before the first answer.
    pub(super) fn clock_skew_seconds(&self) -> i64 {
        self.shared.get().map_or(0, |shared| shared.clock.seconds())
    }
}

/// The limits of one account, and how often AWS enforced its own.
pub(super) struct Limits {
    pub(super) throttled: Throttled,
    lane: Arc<Lane>,
    retry_partition: RetryPartition,
    operation: Duration,
}

impl Shared {
    fn service(&self, lane: &Arc<Lane>) -> ServiceClient {
        service(&self.http_client, lane, &self.clock)
    }
}

fn service(http_client: &SharedHttpClient, lane: &Arc<Lane>, clock: &Arc<ClockSkew>) -> ServiceClient {
    ServiceClient { inner: http_client.clone(), lane: Arc::clone(lane), clock: Arc::clone(clock), reception: None }
}

fn sts_client(
    config: &SdkConfig,
    service: ServiceClient,
    observer: &Arc<dyn RequestObserver>,
    session: Option<&Arc<RoleSession>>,
) -> aws_sdk_sts::Client {
    let partition = session.map_or("sts".to_owned(), |session| format!("sts-{}", session.role.arn.account));
    let builder = aws_sdk_sts::config::Builder::from(config)
        .http_client(service)
        .retry_partition(RetryPartition::custom(partition).build())
        .retry_config(RetryConfig::standard().with_max_attempts(STS_ATTEMPTS))
        .interceptor(TruncationGuard)
        .interceptor(RequestCounter::new("sts", Arc::clone(observer), Throttled::default()));
    let builder = with_session!(builder, session);
    aws_sdk_sts::Client::from_conf(builder.build())
}

/// Region, credentials and endpoints as the environment and the profile have them.
async fn load(settings: &Settings, http_client: SharedHttpClient) -> SdkConfig {
    // The endpoints of IAM and Organizations follow from the partition; STS is asked in the region itself.
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
        .timeout_config(timeouts(OPERATION_TIMEOUT))
        // It measures by the wall clock: when that is set forward by decades, it counts every half second of them.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    let shared = loader.load().await;
    let Some(credentials) = shared.credentials_provider() else { return shared };
    let credentials = SharedCredentialsProvider::new(BlockingCredentials::new(credentials));
    shared.into_builder().credentials_provider(credentials).build()
}

/// The time of an attempt is limited where it is sent, since a request waits for its turn before: see [`transport`].
fn timeouts(operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .disable_operation_attempt_timeout()
        .operation_timeout(operation)
        .build()
}
