//! The HTTP client of all requests to AWS: one connection pool and TLS connector, and limits that every attempt passes,
//! retries included. The `Date` header of an answer shows how far the local clock is off.

use super::clock::ClockSkew;
use super::rate_limit::RateLimiter;
use super::reception::{Reception, hold_while};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The largest answers are a page of GetAccountAuthorizationDetails and a credential report, with some megabytes each. The
/// SDK keeps an answer in memory: what never ends must not fill it.
pub(super) const LARGEST_ANSWER: usize = 32 << 20;

/// A page of a thousand users has half of this.
const SMALL_ANSWER: usize = 1 << 20;

/// Larger answers to requests that have no [`Reception`], received at the same time.
const OVERSIZED_ANSWERS: usize = 4;

/// No single attempt takes longer, from the moment at which it may be sent; IAM answers in well under a second, a large
/// page in a few.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
#[error("no complete answer within {} s", ATTEMPT_TIMEOUT.as_secs())]
struct NoAnswer;

/// What the SDK would use by itself, stated here so that an update of the SDK does not change it: hyper and rustls with
/// AWS-LC, the system's root certificates, and the proxies of the environment.
pub(super) fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// The limits that all requests of the process share.
#[derive(Debug, Clone)]
pub(super) struct Permits {
    /// Requests under way.
    requests: Arc<Semaphore>,
    /// Answers that turn out to be large, though they are not expected to be.
    oversized: Arc<Semaphore>,
}

impl Permits {
    pub(super) fn new(concurrency: usize) -> Self {
        Permits {
            requests: Arc::new(Semaphore::new(concurrency)),
            oversized: Arc::new(Semaphore::new(OVERSIZED_ANSWERS)),
        }
    }
}

/// What a request waits for before it is sent.
#[derive(Debug)]
pub(super) struct Lane {
    /// Requests under way with this lane; they do not wait for each other otherwise.
    own: Semaphore,
    limiter: RateLimiter,
    all: Permits,
}

impl Lane {
    pub(super) fn new(concurrency: usize, limiter: RateLimiter, all: Permits) -> Self {
        Lane { own: Semaphore::new(concurrency), limiter, all }
    }

    /// Sends a request in its turn. The scarcest permit comes last, so that it is not held while waiting.
    async fn send(
        &self,
        inner: SharedHttpConnector,
        request: HttpRequest,
        clock: &ClockSkew,
        reception: Option<&Reception>,
    ) -> Result<HttpResponse, ConnectorError> {
        if let Some(reception) = reception {
            reception.release();
        }
        // The semaphores are never closed.
        let _own = self.own.acquire().await;
        self.limiter.acquire().await;
        let counted = Arc::clone(&self.all.requests).acquire_owned().await.ok();
        let exchange = timeout(ATTEMPT_TIMEOUT, exchange(inner, request, clock, reception, &self.all.oversized));
        let (exchanged, _) = hold_while(counted, exchange).await;
        exchanged.unwrap_or_else(|_| Err(ConnectorError::timeout(NoAnswer.into())))
    }
}

/// The SDK reads every answer into memory. It is read here, so that limits hold until its end.
async fn exchange(
    inner: SharedHttpConnector,
    request: HttpRequest,
    clock: &ClockSkew,
    reception: Option<&Reception>,
    oversized: &Semaphore,
) -> Result<HttpResponse, ConnectorError> {
    let sent_at = SystemTime::now();
    let mut response = inner.call(request).await?;
    if let Some(date) = response.headers().get("date") {
        clock.observe(date, sent_at, SystemTime::now());
    }
    let body = std::mem::replace(response.body_mut(), SdkBody::taken());
    let body = Limited::new(body, LARGEST_ANSWER);
    let received = match reception.filter(|_| response.status().is_success()) {
        Some(reception) => reception.receive(body.collect()).await.map(Collected::to_bytes),
        None => receive_small(body, oversized).await,
    };
    let bytes = received.map_err(|error| {
        if error.is::<LengthLimitError>() { ConnectorError::other(error, None) } else { ConnectorError::io(error) }
    })?;
    *response.body_mut() = SdkBody::from(bytes);
    Ok(response)
}

/// Receives an answer that is expected to be small. What follows the first [`SMALL_ANSWER`] bytes is received in turns: a
/// proxy that answers each request without end must not fill the memory.
async fn receive_small(mut body: Limited<SdkBody>, oversized: &Semaphore) -> Result<Bytes, BoxError> {
    let mut bytes = Vec::new();
    if !receive_up_to(SMALL_ANSWER, &mut body, &mut bytes).await? {
        // The semaphore is never closed. The turn lasts to the end, also if that is slow: the memory is in use as long.
        let _turn = oversized.acquire().await;
        receive_up_to(LARGEST_ANSWER, &mut body, &mut bytes).await?;
    }
    Ok(bytes.into())
}

/// Receives until there are more bytes than this, or to the end. Returns whether it is the end.
async fn receive_up_to(most: usize, body: &mut Limited<SdkBody>, bytes: &mut Vec<u8>) -> Result<bool, BoxError> {
    while bytes.len() <= most {
        let Some(frame) = body.frame().await else { return Ok(true) };
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(false)
}

/// A client of one service, for one account or for all, on top of the shared one.
#[derive(Debug)]
pub(super) struct ServiceClient {
    pub(super) inner: SharedHttpClient,
    pub(super) lane: Arc<Lane>,
    pub(super) clock: Arc<ClockSkew>,
    /// `None` for answers that are not large.
    pub(super) reception: Option<Reception>,
}

impl HttpClient for ServiceClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(ServiceConnector {
            inner: self.inner.http_connector(settings, components),
            lane: Arc::clone(&self.lane),
            clock: Arc::clone(&self.clock),
            reception: self.reception.clone(),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        HttpClient::validate_base_client_config(&self.inner, components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        HttpClient::validate_final_config(&self.inner, components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct ServiceConnector {
    inner: SharedHttpConnector,
    lane: Arc<Lane>,
    clock: Arc<ClockSkew>,
    reception: Option<Reception>,
}

impl HttpConnector for ServiceConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, lane, clock) = (self.inner.clone(), Arc::clone(&self.lane), Arc::clone(&self.clock));
        let reception = self.reception.clone();
        HttpConnectorFuture::new(async move { lane.send(inner, request, &clock, reception.as_ref()).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::counting::RequestObserver;
    use crate::aws::reception::COUNTED;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::Instant;

    /// Answers after a while.
    #[derive(Debug, Default)]
    struct Slow {
        takes: Duration,
        under_way: AtomicUsize,
        most: AtomicUsize,
    }

    /// Also when the request is given up.
    struct Ends<'a>(&'a Slow);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[derive(Debug, Clone)]
    struct Shared(Arc<Slow>);

    impl HttpConnector for Shared {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let slow = Arc::clone(&self.0);
            HttpConnectorFuture::new(async move {
                let now = slow.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                slow.most.fetch_max(now, Ordering::SeqCst);
                let _ends = Ends(&slow);
                tokio::time::sleep(slow.takes).await;
                Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from("<A/>")))
            })
        }
    }

    fn connector(takes: Duration) -> (Arc<Slow>, SharedHttpConnector) {
        let slow = Arc::new(Slow { takes, ..Slow::default() });
        (Arc::clone(&slow), SharedHttpConnector::new(Shared(slow)))
    }

    fn lane(own: usize, all: &Arc<Semaphore>) -> Arc<Lane> {
        let all = Permits { requests: Arc::clone(all), ..Permits::new(1) };
        Arc::new(Lane::new(own, RateLimiter::new(1e6), all))
    }

    async fn send(lane: Arc<Lane>, inner: SharedHttpConnector) -> Result<HttpResponse, ConnectorError> {
        let clock = ClockSkew::new(Arc::new(()) as Arc<dyn RequestObserver>);
        lane.send(inner, HttpRequest::empty(), &clock, None).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_and_all_accounts_have_limits_of_requests_under_way() {
        for (accounts, each, most) in [(1, 40, 8), (10, 4, 20), (3, 2, 6)] {
            let all = Arc::new(Semaphore::new(20));
            let (slow, inner) = connector(Duration::from_millis(50));
            let lanes: Vec<_> = (0..accounts).map(|_| lane(8, &all)).collect();
            let sends = lanes.iter().flat_map(|lane| (0..each).map(|_| send(Arc::clone(lane), inner.clone())));
            assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
            assert_eq!(slow.most.load(Ordering::SeqCst), most, "{accounts} accounts");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_whose_requests_hang_do_not_hold_up_another() {
        let all = Arc::new(Semaphore::new(16));
        let (hanging, never) = connector(Duration::from_secs(3600));
        let stuck: Vec<_> = [lane(8, &all), lane(8, &all)]
            .iter()
            .flat_map(|lane| (0..20).map(|_| tokio::spawn(send(Arc::clone(lane), never.clone()))).collect::<Vec<_>>())
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(hanging.under_way.load(Ordering::SeqCst), 16);
        let started = Instant::now();
        let (_, quick) = connector(Duration::from_millis(50));
        let other = lane(8, &all);
        for _ in 0..100 {
            send(Arc::clone(&other), quick.clone()).await.unwrap();
        }
        // Two waits at most: for those that hang already, and for those that follow them after the time of an attempt.
        assert!(started.elapsed() < COUNTED * 3, "{:?}", started.elapsed());
        for task in stuck {
            assert!(task.await.unwrap().unwrap_err().is_timeout());
        }
        assert_eq!(hanging.most.load(Ordering::SeqCst), 16);
        assert_eq!(all.available_permits(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_attempt_begins_when_it_is_sent() {
        let all = Arc::new(Semaphore::new(1));
        let (_, inner) = connector(Duration::from_secs(20));
        // Twenty requests one after the other take longer than an attempt may.
        let lane = lane(1, &all);
        let sends = (0..20).map(|_| send(Arc::clone(&lane), inner.clone()));
        assert!(futures_util::future::join_all(sends).await.iter().all(Result::is_ok));
    }

    /// Answers at once; the body takes a while, and counts as being in memory from its first byte on.
    #[derive(Debug, Clone)]
    struct Large {
        status: u16,
        body_takes: Duration,
        in_memory: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Large {
        fn new(status: u16, body_takes: Duration) -> Self {
            Large { status, body_takes, in_memory: Arc::default(), most: Arc::default() }
        }

        /// Receives an answer, and uses it for a while.
        async fn received_and_used(self, turns: &Arc<Semaphore>) {
            let clock = ClockSkew::new(Arc::new(()) as Arc<dyn RequestObserver>);
            let reception = Reception::new(turns);
            let inner = SharedHttpConnector::new(self.clone());
            let lane = lane(8, &Arc::new(Semaphore::new(64)));
            let response = lane.send(inner, HttpRequest::empty(), &clock, Some(&reception)).await.unwrap();
            let _turn = reception.turn();
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.in_memory.fetch_sub(1, Ordering::SeqCst);
            drop(response);
        }
    }

    impl HttpConnector for Large {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let this = self.clone();
            let first = futures_util::stream::once(async move {
                let now = this.in_memory.fetch_add(1, Ordering::SeqCst) + 1;
                this.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(this.body_takes).await;
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"<A/>")))
            });
            let body = SdkBody::from_body_1_x(StreamBody::new(Box::pin(first)));
            HttpConnectorFuture::ready(Ok(HttpResponse::new(self.status.try_into().unwrap(), body)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_large_answers_are_in_memory_at_once() {
        let turns = Arc::new(Semaphore::new(4));
        let large = Large::new(200, Duration::from_millis(50));
        futures_util::future::join_all((0..40).map(|_| large.clone().received_and_used(&turns))).await;
        assert_eq!(large.most.load(Ordering::SeqCst), 4);
        assert_eq!(turns.available_permits(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_hang_take_no_turn_for_long_and_errors_none() {
        let turns = Arc::new(Semaphore::new(2));
        let slow = Large::new(200, ATTEMPT_TIMEOUT / 2);
        let both = Arc::clone(&turns);
        let stuck: Vec<_> = (0..2)
            .map(|_| (slow.clone(), Arc::clone(&both)))
            .map(|(slow, turns)| tokio::spawn(async move { slow.received_and_used(&turns).await }))
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(turns.available_permits(), 0);
        let started = Instant::now();
        Large::new(503, Duration::ZERO).received_and_used(&turns).await;
        assert!(started.elapsed() < COUNTED / 2, "an error needs no turn: {:?}", started.elapsed());
        Large::new(200, Duration::ZERO).received_and_used(&turns).await;
        assert!(started.elapsed() < COUNTED * 2, "{:?}", started.elapsed());
        for task in stuck {
            task.await.unwrap();
        }
        assert_eq!(turns.available_permits(), 2);
    }
}
