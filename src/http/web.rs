//! The web configuration in force, and what it means for requests: see [`super::pipeline`].
//!
//! A reload replaces it as a whole. New connections take the current TLS configuration, requests the current users,
//! limit and headers.

use super::auth::{Authenticator, Full, Refused, Users};
use super::body::Payload;
use super::connections::Client;
use super::rate::Limiter;
use super::routes::text;
use super::tls::{ServerTls, TlsError};
use crate::config::web::{RateLimit, WebConfig, WebError};
use crate::model::Timestamp;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Response, StatusCode};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// `Retry-After` when too many passwords wait: by then most of them have been compared.
const AUTHENTICATION_RETRY: Duration = Duration::from_secs(5);

/// The web configuration in force.
pub struct Web {
    current: watch::Sender<Arc<Current>>,
    authenticator: Authenticator,
}

/// A web configuration, ready to use.
#[derive(Default)]
pub(super) struct Current {
    /// `None` is plain HTTP.
    pub tls: Option<ServerTls>,
    /// Changes when connections of before must not be used any more.
    pub generation: u64,
    limiter: Option<Arc<Limiter>>,
    users: Option<Users>,
    /// Of every response.
    pub headers: HeaderMap,
    digest: [u8; 32],
}

/// Why a web configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebLoadError {
    /// The file or a file that it names cannot be read, or is invalid.
    #[error(transparent)]
    Config(#[from] WebError),
    /// A certificate or key is invalid.
    #[error("{path}: {error}")]
    Tls {
        /// The path of the web configuration.
        path: String,
        /// What is wrong.
        error: TlsError,
    },
    /// A reload would turn off what protects the server.
    #[error("{path}: without {protection} the server would be less protected than now; only a restart does that")]
    Weaker {
        /// The path of the web configuration.
        path: String,
        /// What would be turned off.
        protection: &'static str,
    },
}

impl Web {
    /// Plain HTTP for every client, which is what there is without a web configuration.
    pub fn open() -> Self {
        Web { current: watch::Sender::new(Arc::default()), authenticator: Authenticator::new() }
    }

    /// The web configuration of this file. Blocks as long as reading the files does.
    ///
    /// # Errors
    /// [`WebLoadError`], which names file, line and key.
    pub fn load(path: &Path) -> Result<Self, WebLoadError> {
        let web = Web::open();
        web.replace(Current::new(path, &WebConfig::load(path)?, &Current::default())?);
        Ok(web)
    }

    /// Replaces the configuration in force by this one. Does nothing, and returns `false`, if it is the same.
    ///
    /// # Errors
    /// [`WebLoadError`]; then nothing changes.
    pub fn reload(&self, path: &Path, config: &WebConfig) -> Result<bool, WebLoadError> {
        let running = self.current();
        if config.digest == running.digest {
            return Ok(false);
        }
        let new = Current::new(path, config, &running)?;
        if let Some(protection) = running.lost_in(&new) {
            return Err(WebLoadError::Weaker { path: path.display().to_string(), protection });
        }
        self.replace(new);
        Ok(true)
    }

    fn replace(&self, new: Current) {
        self.current.send_replace(Arc::new(new));
    }

    /// Whether this is the configuration in force.
    pub fn is_in_force(&self, config: &WebConfig) -> bool {
        self.current().digest == config.digest
    }

    /// When the served certificate expires; `None` without TLS.
    pub fn certificate_expiry(&self) -> Option<Timestamp> {
        self.current().tls.as_ref().map(|tls| tls.expires)
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    /// Returns once connections of this generation must not be used any more.
    pub(super) async fn outdated(&self, generation: u64) {
        let mut current = self.current.subscribe();
        let waited = current.wait_for(|current| current.generation != generation).await;
        waited.expect("the sender lives as long as the receiver, both belong to self");
    }

    /// Admits a request to the routes: rate limit, then authentication.
    pub(super) async fn admit(&self, current: &Current, client: Client, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(limiter) = &current.limiter {
            limiter.admit().map_err(Refusal::RateLimited)?;
        }
        if let Some(users) = &current.users {
            self.authenticator.authenticate(users, client, headers).await.map_err(Refusal::NotAuthenticated)?;
        }
        Ok(())
    }
}

/// Why a request does not reach the routes.
pub(super) enum Refusal {
    /// With the time until another one is allowed.
    RateLimited(Duration),
    NotAuthenticated(Refused),
}

impl Refusal {
    pub(super) fn response(&self) -> Response<Payload> {
        let retry = |status, line, after: Duration| {
            let mut response = text(status, line);
            let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        };
        match self {
            Refusal::RateLimited(after) => retry(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", *after),
            Refusal::NotAuthenticated(Refused::Unauthorized) => {
                let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized");
                let headers = response.headers_mut();
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                response
            }
            Refusal::NotAuthenticated(Refused::Full(Full::Client)) => {
                let line = "too many passwords of this client are being compared";
                retry(StatusCode::TOO_MANY_REQUESTS, line, AUTHENTICATION_RETRY)
            }
            Refusal::NotAuthenticated(Refused::Full(Full::All)) => {
                let line = "too many passwords are being compared";
                retry(StatusCode::SERVICE_UNAVAILABLE, line, AUTHENTICATION_RETRY)
            }
        }
    }
}

impl Current {
    /// What stays the same keeps its state: tokens of the rate limit, known passwords.
    fn new(path: &Path, config: &WebConfig, running: &Current) -> Result<Self, WebLoadError> {
        let tls = config.tls.as_ref().map(|tls| ServerTls::new(tls, config.http2)).transpose();
        let tls = tls.map_err(|error| WebLoadError::Tls { path: path.display().to_string(), error })?;
        let trust = |tls: &Option<ServerTls>| tls.as_ref().map(|tls| Arc::clone(&tls.trust));
        let same = |limit: RateLimit| running.limiter.as_ref().filter(|limiter| limiter.has(limit)).map(Arc::clone);
        let limiter = config.rate_limit.map(|limit| same(limit).unwrap_or_else(|| Arc::new(Limiter::new(limit))));
        let headers = config.headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("the names are constants");
            (name, HeaderValue::from_str(value).expect("values are checked"))
        });
        Ok(Current {
            generation: running.generation + u64::from(trust(&tls) != trust(&running.tls)),
            tls,
            limiter,
            users: Users::new(&config.users, running.users.as_ref()),
            headers: headers.collect(),
            digest: config.digest,
        })
    }

    /// What protects the server now and would not any more. A file that is just being written looks like that.
    fn lost_in(&self, new: &Current) -> Option<&'static str> {
        self.protections().find(|protection| !new.protections().any(|kept| kept == *protection))
    }

    fn protections(&self) -> impl Iterator<Item = &'static str> {
        let tls = self.tls.as_ref();
        let protections = [
            ("TLS", tls.is_some()),
            ("basic_auth_users", self.users.is_some()),
            ("the requirement of client certificates", tls.is_some_and(|tls| tls.client_auth.requires())),
            ("the verification of client certificates", tls.is_some_and(|tls| tls.client_auth.verifies())),
            ("client_allowed_sans", tls.is_some_and(|tls| tls.trust.allowed_sans.is_some())),
        ];
        protections.into_iter().filter_map(|(protection, is_on)| is_on.then_some(protection))
    }
}

#[cfg(test)]
mod tests;
