//! Turns at receiving large answers. A credential report has some megabytes, several times: as it came, decoded, and parsed.
//! The accounts of a process are checked at the same time, and their reports must not all be in memory at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Large answers of all accounts that are in memory at once.
pub(super) const LARGE_ANSWERS: usize = 16;

/// Work that takes longer does not count for a limit of all accounts any more: accounts whose requests hang must not hold up
/// the others. Their own limits still bound them.
pub(super) const COUNTED: Duration = Duration::from_secs(5);

/// A turn, to be held until the answer is not in memory any more.
#[must_use = "the turn ends when it is dropped"]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The place of one request in the queue. It waits when the answer begins to arrive: neither a request that hangs nor the
/// pause before another attempt takes a turn.
#[derive(Debug, Clone)]
pub(super) struct Reception {
    turns: Arc<Semaphore>,
    /// The turn of the answer that was received last.
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Reception {
    pub(super) fn new(turns: &Arc<Semaphore>) -> Self {
        Reception { turns: Arc::clone(turns), held: Arc::default() }
    }

    /// Receives an answer in its turn, which then lasts until [`turn`](Self::turn) is dropped.
    pub(super) async fn receive<T, E>(&self, receiving: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.release();
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        let (received, permit) = hold_while(permit, receiving).await;
        *self.held() = permit.filter(|_| received.is_ok());
        received
    }

    /// Another attempt follows: the answer to the last one is of no use.
    pub(super) fn release(&self) {
        *self.held() = None;
    }

    /// The turn of the answer that was received last.
    pub(super) fn turn(&self) -> Turn {
        Turn { _permit: self.held().take() }
    }

    fn held(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the permit until the work is done, or [`COUNTED`] has passed. Returns it if it is still held.
pub(super) async fn hold_while<T>(
    permit: Option<OwnedSemaphorePermit>,
    work: impl Future<Output = T>,
) -> (T, Option<OwnedSemaphorePermit>) {
    let mut work = std::pin::pin!(work);
    match timeout(COUNTED, &mut work).await {
        Ok(done) => (done, permit),
        Err(_) => {
            drop(permit);
            (work.await, None)
        }
    }
}
