//! The HTTP client of all requests to AWS: one connection pool, and for IAM one rate limiter that every attempt passes,
//! retries included. The `Date` header of an answer shows how far the local clock is off.

use super::clock::ClockSkew;
use super::rate_limit::RateLimiter;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;
use std::sync::Arc;
use std::time::SystemTime;

/// The largest answers are a page of GetAccountAuthorizationDetails and a credential report, with some megabytes each. The
/// SDK keeps an answer in memory: what never ends must not fill it.
pub(super) const LARGEST_ANSWER: usize = 32 << 20;

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

/// A client of one service of one account, on top of the shared one.
#[derive(Debug)]
pub(super) struct ServiceClient {
    pub(super) inner: SharedHttpClient,
    /// Absent where requests are rare.
    pub(super) limiter: Option<Arc<RateLimiter>>,
    pub(super) clock: Arc<ClockSkew>,
}

impl HttpClient for ServiceClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(ServiceConnector {
            inner: self.inner.http_connector(settings, components),
            limiter: self.limiter.clone(),
            clock: Arc::clone(&self.clock),
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
    limiter: Option<Arc<RateLimiter>>,
    clock: Arc<ClockSkew>,
}

impl HttpConnector for ServiceConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, limiter, clock) = (self.inner.clone(), self.limiter.clone(), Arc::clone(&self.clock));
        HttpConnectorFuture::new(async move {
            if let Some(limiter) = limiter {
                limiter.acquire().await;
            }
            let sent_at = SystemTime::now();
            let mut response = inner.call(request).await?;
            if let Some(date) = response.headers().get("date") {
                clock.observe(date, sent_at, SystemTime::now());
            }
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, LARGEST_ANSWER));
            Ok(response)
        })
    }
}
