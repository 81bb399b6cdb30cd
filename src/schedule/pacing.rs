//! The limits that all accounts of the process share.

use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How much may happen at once, over all accounts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest number of accounts whose check is running.
    pub accounts: usize,
    /// The largest number of requests in flight.
    pub requests: usize,
}

/// Permits for checks, shared by all workers and given out in the order of demand.
#[derive(Debug)]
pub struct Pacing {
    checks: Semaphore,
}

impl Pacing {
    /// At least one of each is admitted.
    pub fn new(limits: Limits) -> Arc<Self> {
        let most = |permits: usize| permits.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Pacing { checks: Semaphore::new(most(limits.accounts)) })
    }

    /// Waits until another check may run; the permit is to be held until it ends.
    pub(super) async fn check(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.checks.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests;
