//! Sessions of roles: the only cache of their credentials. The SDK's own cache holds 64 identities, renews in the last
//! seconds, and does not remember failures: a denied role would be assumed again at each request.

use super::counting::failure_code;
use crate::model::{AccountId, Partition, Role};
use crate::source::SourceError;
use crate::source::retry::{backoff, spread};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A session is renewed so long before its end, and up to a tenth of that earlier.
const RENEWED_AHEAD: Duration = Duration::from_secs(5 * 60);
/// A session that ends so soon is not used: requests take some time.
const NOT_USED_AHEAD: Duration = Duration::from_secs(10);

/// The pauses between attempts to assume a role, which double from the first to the longest: for a failure that lasts
/// until a person changes permissions, and for one that passes by itself. None is as long as the default interval of checks:
/// the next check after a repair succeeds.
const PAUSES_OF_DENIALS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(4 * 60));
const PAUSES_OF_FAULTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The codes of answers to requests whose credentials are not valid any more (IAM API Reference, "Common Errors").
const REFUSALS: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];

/// What AssumeRole returned.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) account: AccountId,
    pub(super) partition: Partition,
    pub(super) credentials: Credentials,
    /// From the moment of the answer on.
    pub(super) lifetime: Duration,
}

/// Assumes roles.
pub(super) trait Assume: Send + Sync {
    /// Requests a new session.
    fn assume<'a>(&'a self, role: &'a Role) -> BoxFuture<'a, Result<Session, SourceError>>;
}

/// A moment by two clocks. The monotonic one stops while the machine is suspended, the wall clock is adjusted.
#[derive(Debug, Clone, Copy)]
struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Moment { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// By the clock that has advanced more: a session may be thought older than it is, never younger.
    fn since(self, earlier: Moment) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

type Attempt = Shared<BoxFuture<'static, Result<Session, SourceError>>>;

#[derive(Default)]
struct State {
    session: Option<Held>,
    failure: Option<Failure>,
    /// The request to STS that is under way.
    attempt: Option<Attempt>,
}

struct Held {
    session: Session,
    since: Moment,
    renewed_after: Duration,
    used_until: Duration,
}

struct Failure {
    error: SourceError,
    in_a_row: u32,
    at: Moment,
    pause: Duration,
}

/// What to do for a caller who needs credentials.
enum Decision {
    Use(Session),
    UseAndRenew(Session),
    Assume,
    Refuse(SourceError),
}

impl State {
    fn decide(&self, now: Moment) -> Decision {
        let held = self.session.as_ref().map(|held| (held, now.since(held.since)));
        let held = held.filter(|(held, age)| *age < held.used_until);
        let paused = self.failure.as_ref().filter(|failure| now.since(failure.at) < failure.pause);
        match (held, paused) {
            (Some((held, age)), None) if age >= held.renewed_after => Decision::UseAndRenew(held.session.clone()),
            (Some((held, _)), _) => Decision::Use(held.session.clone()),
            (None, Some(failure)) => Decision::Refuse(failure.error.clone()),
            (None, None) => Decision::Assume,
        }
    }

    /// Records how an attempt ended. `jitter` is from 0 to 1.
    fn ended(&mut self, result: &Result<Session, SourceError>, now: Moment, jitter: f64) {
        self.attempt = None;
        match result {
            Ok(session) => {
                self.failure = None;
                self.session = Some(Held::new(session.clone(), now, jitter));
            }
            Err(error) => {
                let in_a_row = self.failure.as_ref().map_or(0, |f| f.in_a_row).saturating_add(1);
                let pause = pause(error, in_a_row, jitter);
                tracing::debug!(reason = error.reason(), %error, pause_seconds = pause.as_secs(), "a role is not assumed");
                self.failure = Some(Failure { error: error.clone(), in_a_row, at: now, pause });
            }
        }
    }
}

impl Held {
    /// A session of an hour is renewed after 54.5 to 55 minutes; of a shorter one the last quarter is not waited for.
    fn new(session: Session, now: Moment, jitter: f64) -> Self {
        let lifetime = session.lifetime;
        let part = |n| lifetime.checked_div(n).unwrap_or_default();
        let ahead = RENEWED_AHEAD.min(part(4)).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
        let unused = NOT_USED_AHEAD.min(part(10));
        Held {
            session,
            since: now,
            renewed_after: lifetime.saturating_sub(ahead),
            used_until: lifetime.saturating_sub(unused),
        }
    }
}

/// Up to 10 % less or more by `jitter`: the roles of an organisation must not be assumed in step.
fn pause(error: &SourceError, in_a_row: u32, jitter: f64) -> Duration {
    let lasts = matches!(error.reason(), "role_denied" | "credentials" | "access_denied" | "account_mismatch");
    let (first, longest) = if lasts { PAUSES_OF_DENIALS } else { PAUSES_OF_FAULTS };
    spread(backoff(first, longest, in_a_row), jitter)
}

/// The session of a role, shared by all who need it.
pub(super) struct RoleSession {
    pub(super) role: Role,
    assume: Arc<dyn Assume>,
    state: Mutex<State>,
}

impl RoleSession {
    /// Nothing is assumed yet.
    pub(super) fn new(role: Role, assume: Arc<dyn Assume>) -> Arc<Self> {
        Arc::new(RoleSession { role, assume, state: Mutex::new(State::default()) })
    }

    /// The current session. It is renewed in the background, before it ends; only the first one, and one after a failure,
    /// is waited for. A failure is remembered, and tried again after a pause.
    ///
    /// # Errors
    /// When the role cannot be assumed, and the last session is over.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Session, SourceError> {
        let attempt = {
            let mut state = self.state();
            match state.decide(Moment::now()) {
                Decision::Use(session) => return Ok(session),
                Decision::UseAndRenew(session) => {
                    // It goes on by itself.
                    drop(self.attempt(&mut state));
                    return Ok(session);
                }
                Decision::Refuse(error) => return Err(error),
                Decision::Assume => self.attempt(&mut state),
            }
        };
        attempt.await
    }

    /// The attempt under way, or else a new one. It is a task of its own: a caller that gives up leaves it to the next.
    fn attempt(self: &Arc<Self>, state: &mut State) -> Attempt {
        if let Some(attempt) = &state.attempt {
            return attempt.clone();
        }
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let assuming = AssertUnwindSafe(this.assume.assume(&this.role)).catch_unwind();
            // After a panic the next caller must not wait for this attempt.
            let result = assuming.await.unwrap_or(Err(SourceError::Internal));
            this.state().ended(&result, Moment::now(), fastrand::f64());
            result
        });
        let attempt = task.map(|ended| ended.unwrap_or(Err(SourceError::Internal))).boxed().shared();
        state.attempt = Some(attempt.clone());
        attempt
    }

    /// AWS refuses the session with this access key ID, before its end: it was revoked, or the role was replaced.
    fn refused(&self, access_key_id: &str) {
        let mut state = self.state();
        if state.session.as_ref().is_some_and(|held| held.session.credentials.access_key_id() == access_key_id) {
            let error = SourceError::Credentials(format!("AWS refuses the session of {}", self.role.arn));
            state.session = None;
            // Not at once: AWS can refuse the next one, too.
            state.failure = Some(Failure { error, in_a_row: 1, at: Moment::now(), pause: PAUSES_OF_FAULTS.0 });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without credentials.
impl fmt::Debug for RoleSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleSession").field("role", &self.role.arn).finish_non_exhaustive()
    }
}

/// Credentials of a role for a client of the SDK, which asks at each attempt of a request.
#[derive(Debug)]
pub(super) struct RoleCredentials(pub(super) Arc<RoleSession>);

impl ProvideCredentials for RoleCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            // The error is found again by its type.
            self.0.get().await.map(|session| session.credentials).map_err(CredentialsError::provider_error)
        })
    }
}

/// The access key ID of an attempt, which is not displayed.
struct SignedWith(String);

impl Storable for SignedWith {
    type Storer = StoreReplace<Self>;
}

impl fmt::Debug for SignedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedWith")
    }
}

/// Gives up a session that AWS refuses, for a client with [`RoleCredentials`].
#[derive(Debug)]
pub(super) struct RefusedSession(pub(super) Arc<RoleSession>);

#[dyn_dispatch_hint]
impl Intercept for RefusedSession {
    fn name(&self) -> &'static str {
        "RefusedSession"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let signature = context.request().headers().get("authorization");
        if let Some(key_id) = signature.and_then(|text| text.split_once("Credential=")?.1.split('/').next()) {
            cfg.interceptor_state().store_put(SignedWith(key_id.to_owned()));
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Err(error)) = context.output_or_error() else { return Ok(()) };
        let is_refused = REFUSALS.contains(&failure_code(context, error));
        if let Some(SignedWith(key_id)) = cfg.load::<SignedWith>().filter(|_| is_refused) {
            self.0.refused(key_id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
