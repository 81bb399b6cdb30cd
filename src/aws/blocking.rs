//! Work that may block its thread, away from the threads that serve. The SDK reads configuration, credentials and token
//! files in place: a file that blocks (a FIFO, a hung network file system) would stop the worker thread that reads it.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use std::fmt;
use std::future::Future;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

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

/// Credentials of the default chain, whose files and processes may block.
pub(super) struct BlockingCredentials {
    inner: SharedCredentialsProvider,
    work: Blocking<provider::Result>,
}

impl BlockingCredentials {
    pub(super) fn new(inner: SharedCredentialsProvider) -> Self {
        BlockingCredentials { inner, work: Blocking::new() }
    }
}

impl ProvideCredentials for BlockingCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let inner = self.inner.clone();
        future::ProvideCredentials::new(async move {
            let result = self.work.run(|| async move { inner.provide_credentials().await }).await;
            result.unwrap_or_else(|error| Err(CredentialsError::provider_error(error)))
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
    use std::sync::Arc;
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
}
