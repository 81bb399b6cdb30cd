//! Work that may block its thread, away from the threads that serve. The SDK reads configuration, credentials and token
//! files in place: a file that blocks (a FIFO, a hung network file system) would stop the worker thread that reads it.

use crate::source::SourceError;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::Instant;

/// One piece of work on a thread of its own, at most once at a time. A caller that gives up leaves it running, and the
/// next one waits for the same: however often it is tried, work that hangs holds one thread.
pub(super) struct Blocking<T> {
    running: Mutex<Option<JoinHandle<T>>>,
}

impl<T: Send + 'static> Blocking<T> {
    pub(super) fn new() -> Self {
        Blocking { running: Mutex::new(None) }
    }

    /// The result of the work that is running, or else of `work`.
    ///
    /// # Errors
    /// When the work panics, or the runtime ends.
    pub(super) async fn run<F, W>(&self, work: W) -> Result<T, JoinError>
    where
        F: Future<Output = T>,
        W: FnOnce() -> F + Send + 'static,
    {
        let mut running = self.running.lock().await;
        let task = running.get_or_insert_with(|| {
            let runtime = Handle::current();
            spawn_blocking(move || runtime.block_on(work()))
        });
        let result = task.await;
        *running = None;
        result
    }
}

/// So long a failure is returned without another attempt: the roles of many accounts need the same credentials at once,
/// one caller after the other waits for them, and a chain that finds none can take seconds.
const FAILURE_KEPT: Duration = Duration::from_secs(2);

/// Credentials of the default chain, whose files and processes may block.
pub(super) struct BlockingCredentials {
    inner: SharedCredentialsProvider,
    work: Blocking<provider::Result>,
    failure: Arc<StdMutex<Option<(Instant, Repeated)>>>,
}

/// The failure of an attempt shortly before, as text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct Repeated(String);

impl Repeated {
    fn new(error: &CredentialsError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Repeated(text)
    }
}

/// The credentials of the chain, unless it failed shortly before.
async fn provide(
    inner: SharedCredentialsProvider,
    failure: Arc<StdMutex<Option<(Instant, Repeated)>>>,
) -> provider::Result {
    let kept = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, error)) = &*kept()
        && at.elapsed() < FAILURE_KEPT
    {
        return Err(CredentialsError::provider_error(error.clone()));
    }
    let result = inner.provide_credentials().await;
    *kept() = result.as_ref().err().map(|error| (Instant::now(), Repeated::new(error)));
    result
}

impl BlockingCredentials {
    pub(super) fn new(inner: SharedCredentialsProvider) -> Self {
        BlockingCredentials { inner, work: Blocking::new(), failure: Arc::default() }
    }
}

impl ProvideCredentials for BlockingCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let (inner, failure) = (self.inner.clone(), Arc::clone(&self.failure));
        future::ProvideCredentials::new(async move {
            let result = self.work.run(|| provide(inner, failure)).await;
            // The error is found again by its type.
            result.unwrap_or_else(|_| Err(CredentialsError::provider_error(SourceError::Internal)))
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

impl fmt::Debug for BlockingCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingCredentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_gives_up_leaves_the_work_to_the_next() {
        let work = Blocking::new();
        let (begun, finish) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let attempt = || {
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            work.run(move || async move {
                begun.fetch_add(1, Ordering::Relaxed);
                finish.notified().await;
                "done"
            })
        };
        for _ in 0..3 {
            assert!(attempt().now_or_never().is_none(), "polled once, then dropped");
        }
        finish.notify_one();
        assert_eq!(attempt().await.unwrap(), "done");
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        finish.notify_one();
        assert_eq!(attempt().await.unwrap(), "done");
        assert_eq!(begun.load(Ordering::Relaxed), 2, "a completed call runs again");
    }

    /// A chain without credentials, which counts its attempts.
    #[derive(Debug, Clone, Default)]
    struct Fails(Arc<AtomicUsize>);

    impl ProvideCredentials for Fails {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("no luck")))
        }
    }

    #[tokio::test]
    async fn callers_at_once_share_one_failure() {
        tokio::time::pause();
        let chain = Fails::default();
        let credentials = BlockingCredentials::new(SharedCredentialsProvider::new(chain.clone()));
        for attempts in 1..=3 {
            for _ in 0..50 {
                let error = credentials.provide_credentials().await.unwrap_err();
                assert!(Repeated::new(&error).0.contains("no luck"), "{error:?}");
            }
            assert_eq!(chain.0.load(Ordering::Relaxed), attempts);
            tokio::time::advance(FAILURE_KEPT).await;
        }
    }
}
